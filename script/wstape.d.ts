// Types of wstape's scripts and of their tests. `wstape script types` prints this file.
//
// Put it next to your scripts and begin them with
//
//     /// <reference path="./wstape.d.ts" />
//
// and give your editor a tsconfig.json that says what scripts run in: JavaScript, and neither
// a browser nor Node:
//
//     { "compilerOptions": { "target": "ES2023", "lib": ["ES2023"], "types": [], "strict": true, "noEmit": true } }
//
// A script is an ES module (or CommonJS) that exports some of these hooks:
//
//     export function onRequest(req: wstape.Request, session: wstape.Session) {}
//     export function onResponse(res: wstape.Response, session: wstape.Session) {}
//     export function onOpen(session: wstape.Session) {}
//     export function onMessage(msg: wstape.Message, session: wstape.Session): wstape.MessageResult {}
//     export function onControl(frame: wstape.Control, session: wstape.Session): wstape.ControlResult {}
//     export function onMatch(expected: wstape.Shown, received: wstape.Shown, session: wstape.Session): wstape.MatchResult {}
//     export function onClose(ending: wstape.Ending, session: wstape.Session) {}
//     export function onReload(oldState: any, session: wstape.Session) {}
//     export const from: wstape.Side = "client";   // look at this side's messages only; leave it out for both
//
// In JavaScript, say it in a comment: /** @type {wstape.OnMessage} */ export const onMessage = (msg, session) => { … }
//
// Every hook may be async. A hook that throws, or takes too long, changes nothing (script.on_error
// says otherwise): the message goes on as it came, and log and tape say what happened.

declare namespace wstape {
    /** One of the two ends of a session. */
    type Side = "client" | "server";

    /** What can be sent: a string as text, bytes as binary, an object or array as JSON text. */
    type Data = string | Uint8Array | ArrayBuffer | ArrayBufferView | object;

    /** What a JSON text can say. `any`, so that `msg.json.user.name` needs no casts. */
    type Json = any;

    /**
     * What becomes of a message:
     * - nothing, `true` or `msg` itself: it goes on, with what was changed in it;
     * - `false`: it is dropped;
     * - data: that is sent in its place;
     * - an array: each of its elements is sent, `msg` among them if it is there. An empty one drops.
     */
    type MessageResult = void | undefined | null | boolean | Message | Data | (Message | Data)[];

    /** What becomes of a ping or pong: as for a message, but only one can be sent in its place. */
    type ControlResult = void | undefined | null | boolean | Control | Data;

    /**
     * Whether a message matches the recorded one:
     * - `true`: it does;
     * - `false`, or a string that says why: it does not;
     * - nothing: the next script says, or `wstape replay` itself.
     */
    type MatchResult = void | undefined | null | boolean | string;

    /** Runs on the client's handshake, before the upstream is dialled. It may change or reject it. */
    type OnRequest = (req: Request, session: Session) => void | Promise<void>;
    /** Runs on the upstream's answer, before the client gets it. It may change its headers or reject it. */
    type OnResponse = (res: Response, session: Session) => void | Promise<void>;
    /** Runs when the client has its 101, before any message. Messages do not wait for what it awaits. */
    type OnOpen = (session: Session) => void | Promise<void>;
    /** Runs on each text and binary message of both sides, or of the side that the export `from` names. */
    type OnMessage = (msg: Message, session: Session) => MessageResult | Promise<MessageResult>;
    /** Runs on each ping and pong. Only a script that exports it delays them. */
    type OnControl = (frame: Control, session: Session) => ControlResult | Promise<ControlResult>;
    /**
     * Runs in a replay only: does the message that came match the recorded one that is due? It is asked about those
     * that differ, or with `--match script` about all.
     */
    type OnMatch = (expected: Shown, received: Shown, session: Session) => MatchResult | Promise<MatchResult>;
    /** Runs when the session is over. It may await for a second at most. */
    type OnClose = (ending: Ending, session: Session) => void | Promise<void>;
    /**
     * Runs in the new version of a script, in each open session, when its file was saved. It is given
     * a copy of the old version's `session.state`, and makes its own. Without it, the copy is the new state.
     */
    type OnReload = (oldState: any, session: Session) => void;

    /**
     * A message. `text`, `bytes` and `json` are three ways to look at the same payload: change one,
     * and the others follow. Bytes that nothing was assigned to stay as they were.
     */
    interface Message {
        /** Who sent it. */
        readonly from: Side;
        /** What it was sent as. Return a string or bytes to send the other. */
        readonly op: "text" | "binary";
        /** When it began, in seconds since the session did. */
        readonly t: number;
        /** Bytes of its payload, as it stands. */
        readonly len: number;
        /** The payload of a text message; undefined for a binary one. Bytes that are not UTF-8 read as U+FFFD. */
        text: string | undefined;
        /** Whether the payload is valid UTF-8. */
        readonly utf8: boolean;
        /** The payload's bytes. They can be changed in place. */
        bytes: Uint8Array;
        /**
         * The payload as JSON; undefined if it is none. Assigning to a member changes that member's bytes in
         * the payload and no others: spacing, order and big numbers elsewhere stay as they were.
         */
        json: Json;
    }

    /**
     * A message that is only looked at. Nothing can be assigned to it. What is changed within its `json` or `bytes`
     * is seen by this call of the hook alone.
     */
    type Shown = Readonly<Message>;

    /** A ping or pong: like a message, but its payload has at most 125 bytes. */
    interface Control {
        /** Who sent it. */
        readonly from: Side;
        readonly op: "ping" | "pong";
        /** When it came, in seconds since the session began. */
        readonly t: number;
        /** Bytes of its payload. */
        readonly len: number;
        text: string;
        readonly utf8: boolean;
        bytes: Uint8Array;
        json: Json;
    }

    /** One WebSocket connection, with both its ends. */
    interface Session {
        /** Its UUID (version 7). */
        readonly id: string;
        /** Its number on the tape, as `wstape show` takes it. */
        readonly number: number;
        /** What the client asked for: path and query. */
        readonly url: string;
        /** The client's address: host and port. */
        readonly client: string;
        /** When it began, in milliseconds since 1970. */
        readonly started: number;
        /** How long it lasts by now, in seconds. */
        readonly t: number;
        /** The client's handshake, as it came. */
        readonly request: SentRequest;
        /** The upstream's answer; undefined before there is one. */
        readonly response: SentResponse | undefined;
        /** The subprotocol that both ends have agreed on, or "". */
        readonly subprotocol: string;
        /** This session's own memory, an empty object at first. It outlives a reload of the script. */
        state: any;
        /**
         * Sends a message to one side, as if the other had. It goes behind what is being sent, never into
         * a message, and no hook sees it. Throws when too much waits already.
         */
        send(to: Side, data: Data): void;
        /** Sends a ping of wstape's own to one side. */
        ping(to: Side, data?: string | Uint8Array | ArrayBuffer): void;
        /** Closes both sides (RFC 6455, section 7.4). The code is 1000 if nothing else is said. */
        close(code?: number, reason?: string): void;
        /** Puts a remark on the tape; the live log shows it. */
        note(text: string): void;
        /** Puts a tag on the session, for `wstape ls`. */
        tag(key: string, value?: string): void;
    }

    /** A handshake that has been sent. */
    interface SentRequest {
        readonly method: string;
        readonly url: string;
        readonly headers: SentHeaders;
    }

    /** The head of an answer that has been sent. */
    interface SentResponse {
        readonly status: number;
        readonly headers: SentHeaders;
    }

    /** The client's handshake, on its way to the upstream. */
    interface Request {
        readonly method: "GET";
        /** Path and query. Where it goes is the upstream's setting. */
        url: string;
        /** The subprotocols that the client offers, in its order. Assign a new array to change them. */
        protocols: string[];
        readonly headers: Headers;
        /** Refuses the handshake: the client gets this answer, and the upstream is not dialled. */
        reject(status?: number, body?: string): void;
    }

    /** The upstream's answer, on its way to the client. */
    interface Response {
        readonly status: number;
        readonly headers: Headers;
        /** Refuses the handshake after all: the client gets this answer in the place of the upstream's. */
        reject(status?: number, body?: string): void;
    }

    /** Header fields that can be read. Names are the same in upper and lower case. */
    interface SentHeaders extends Iterable<[name: string, value: string]> {
        /** The value; several fields of one name joined by ", "; null if there is none. */
        get(name: string): string | null;
        /** The values of all fields of that name. */
        getAll(name: string): string[];
        has(name: string): boolean;
        entries(): [name: string, value: string][];
        toJSON(): [name: string, value: string][];
    }

    /** Header fields that can be changed, but for those that are the handshake itself. */
    interface Headers extends SentHeaders {
        /** Puts one field in the place of all of that name. */
        set(name: string, value: string): void;
        /** Adds a field beside those of that name. */
        append(name: string, value: string): void;
        /** Removes all fields of that name. */
        delete(name: string): void;
    }

    /** How a session ended. */
    interface Ending {
        /** A close frame, the end or the reset of a connection, a limit of time, or something else. */
        readonly kind: "close" | "eof" | "reset" | "timeout" | "error";
        /** Of a close frame that has one. */
        readonly code?: number;
        /** Of a close frame. */
        readonly reason?: string;
        /** Who ended it; undefined when neither side did. */
        readonly from?: Side;
        /** What went wrong. */
        readonly why?: string;
    }

    /**
     * Values that all sessions share, for as long as wstape runs. What is put in is copied, and
     * what is got out is a copy (see structuredClone).
     */
    interface Store {
        /** A copy of the value, or undefined. */
        get<T = any>(key: string): T | undefined;
        set(key: string, value: unknown): void;
        has(key: string): boolean;
        /** Whether there was one. */
        delete(key: string): boolean;
        /** All keys, in order. */
        keys(): string[];
        /**
         * Replaces a value by what the function makes of it, and returns that. If another session was faster,
         * the function runs again on the newer value; so it should do nothing else. Returning undefined
         * leaves the value as it is.
         */
        update<T = any>(key: string, change: (value: T | undefined) => T | undefined): T;
    }

    /** Prints to wstape's log and, as notes, on the tape. The first argument may be a format: %s %d %i %f %j %o %O. */
    interface Console {
        log(...data: unknown[]): void;
        info(...data: unknown[]): void;
        warn(...data: unknown[]): void;
        error(...data: unknown[]): void;
        debug(...data: unknown[]): void;
        /** Prints with the places that led here. */
        trace(...data: unknown[]): void;
        dir(value: unknown): void;
        table(...data: unknown[]): void;
        group(...data: unknown[]): void;
        groupCollapsed(...data: unknown[]): void;
        groupEnd(): void;
        /** Prints only if the condition does not hold. */
        assert(condition?: boolean, ...data: unknown[]): void;
        count(label?: string): void;
        countReset(label?: string): void;
        time(label?: string): void;
        timeLog(label?: string, ...data: unknown[]): void;
        timeEnd(label?: string): void;
    }

    /** A part of the Web Crypto API. */
    interface Crypto {
        /** A version 4 UUID. */
        randomUUID(): string;
        /** Fills the array, of 65536 bytes at most, and returns it. */
        getRandomValues<T extends ArrayBufferView>(array: T): T;
        readonly subtle: SubtleCrypto;
    }

    interface SubtleCrypto {
        /** The hash of 16 MiB at most. */
        digest(
            algorithm: "SHA-1" | "SHA-256" | "SHA-384" | "SHA-512" | { name: string },
            data: ArrayBuffer | ArrayBufferView,
        ): Promise<ArrayBuffer>;
    }

    interface Performance {
        /** Milliseconds since the script was started. */
        now(): number;
        readonly timeOrigin: number;
    }

    // ---- For tests: NAME.test.ts or .js beside NAME.ts or .js, run by `wstape script test`.

    /** What open() can be told about a session. */
    interface OpenOptions {
        /** Path and query that the client asks for; "/" if nothing is said. */
        url?: string;
        /** Fields of the client's handshake, beside the usual ones. */
        headers?: Record<string, string | string[]>;
        /** The client's address. */
        client?: string;
        subprotocol?: string;
        /** What the script sees as env. */
        env?: Record<string, string>;
        /** When the session begins, a Date or milliseconds since 1970; 2026-01-01 if nothing is said. */
        started?: Date | number;
    }

    /**
     * A session of the script under test, with no connection and with a time of its own: nothing waits.
     * Its handshake (onRequest, onResponse with 101, onOpen) runs when it is first needed, for a message or to
     * look at what was sent; request() and response() run it step by step.
     *
     * A hook that fails, fails the test, unless the test looks at `errors`.
     */
    interface TestSession {
        /** The client sends a message. If the hook awaits, time passes until it is done. */
        client(data: Data, at?: At): Outcome;
        /** The server sends a message. */
        server(data: Data, at?: At): Outcome;
        /** One side sends a ping. */
        ping(from: Side, data?: string | Uint8Array, at?: At): Outcome;
        /** One side sends a pong. */
        pong(from: Side, data?: string | Uint8Array, at?: At): Outcome;
        /** Lets time pass: timers that become due are called. */
        advance(ms: number): void;
        /** Runs onRequest on a handshake: the session's own, with what is given here. */
        request(handshake?: { url?: string; headers?: Record<string, string | string[]> }): TestRequest;
        /** Runs onResponse on the upstream's answer; 101 if nothing is said. */
        response(answer?: { status?: number; headers?: Record<string, string | string[]> }): TestResponse;
        /** Ends the session: runs onClose. */
        close(ending?: Partial<Ending>): void;
        /** What the script has sent by session.send and session.ping, so far. */
        readonly sent: Sent[];
        /** What it has noted on the tape: by session.note, and that it changed the handshake. */
        readonly notes: string[];
        readonly tags: Record<string, string>;
        /** How the script closed the session; undefined if it did not. */
        readonly closed: { code: number; reason: string } | undefined;
        /** What failed in the script: messages with the places where it did. */
        readonly errors: string[];
        /** What the script printed with console. */
        readonly logs: { level: "debug" | "info" | "warn" | "error"; text: string }[];
    }

    /** When something happens, in seconds since the session began; now if nothing is said. */
    interface At {
        t?: number;
    }

    /** What became of a message. */
    interface Outcome {
        fate: "passed" | "edited" | "dropped";
        /** Who decided so: "script:NAME". Undefined if it passed. */
        by?: string;
        /** What goes on in its place. */
        out: Sendable[];
        /** Of the first that goes on; undefined if nothing does. */
        text: string | undefined;
        /** Of the first that goes on. */
        bytes: Uint8Array | undefined;
        /** Of the first that goes on, if it is JSON. */
        json: Json;
    }

    /**
     * A message that is sent. For assert.deepEqual it is { op, text }, or { op, bytes } if it is binary; in
     * `sent` with `to`.
     */
    interface Sendable {
        op: "text" | "binary" | "ping" | "pong";
        text: string | undefined;
        bytes: Uint8Array;
        json: Json;
    }

    interface Sent extends Sendable {
        to: Side;
        /** When, in seconds since the session began. */
        t: number;
    }

    /** The handshake as onRequest left it. */
    interface TestRequest {
        url: string;
        headers: SentHeaders;
        protocols: string[];
        /** What the client got instead, if the script rejected it. */
        refusal?: { status: number; body: string };
    }

    /** The answer as onResponse left it. */
    interface TestResponse {
        status: number;
        headers: SentHeaders;
        /** What the client gets instead of a 101. */
        refusal?: { status: number; body: string };
    }

    type TestFunction = () => void | Promise<void>;

    interface Test {
        /** Registers a test. setTimeout does not wait in it: time goes by while it awaits. */
        (name: string, f: TestFunction): void;
        /** Registers a test that is not run. */
        skip(name: string, f?: TestFunction): void;
    }

    interface Assert {
        (value: unknown, message?: string): asserts value;
        ok(value: unknown, message?: string): asserts value;
        /** The very same value (Object.is). */
        equal(actual: unknown, expected: unknown, message?: string): void;
        notEqual(actual: unknown, unwanted: unknown, message?: string): void;
        /** The same when looked at, all the way down. */
        deepEqual(actual: unknown, expected: unknown, message?: string): void;
        match(string: unknown, regexp: RegExp, message?: string): void;
        /** Returns what was thrown. A regular expression is matched with "Name: message". */
        throws(f: () => unknown, wanted?: RegExp | Function, message?: string): any;
        /** The same of a promise, or of a function that returns one. Await it. */
        rejects(promise: Promise<unknown> | (() => Promise<unknown>), wanted?: RegExp | Function, message?: string): Promise<any>;
        fail(message?: string): never;
    }
}

// ---- Globals. There is no fetch, no file system and no process.

declare var console: wstape.Console;
declare var crypto: wstape.Crypto;
declare var performance: wstape.Performance;

/** Values that all sessions share. */
declare var store: wstape.Store;

/** Environment variables, those that the setting script.env allows. */
declare var env: { readonly [name: string]: string | undefined };

/** Timers end with the session. Their functions may send, note and close. */
declare function setTimeout<A extends any[]>(f: (...args: A) => void, ms?: number, ...args: A): number;
declare function setInterval<A extends any[]>(f: (...args: A) => void, ms?: number, ...args: A): number;
declare function clearTimeout(id: number | undefined): void;
declare function clearInterval(id: number | undefined): void;

/** Runs a function when the running one has come to its end. */
declare function queueMicrotask(f: () => void): void;

/** Copies a value deeply: objects, arrays, maps, sets, dates, buffers … but no functions. */
declare function structuredClone<T>(value: T, options?: { transfer?: ArrayBuffer[] }): T;

/** Decodes base64. The result has a character for each byte. */
declare function atob(base64: string): string;
/** Encodes bytes, given as characters up to U+00FF, as base64. */
declare function btoa(bytes: string): string;

interface TextEncoder {
    readonly encoding: "utf-8";
    encode(text?: string): Uint8Array;
    encodeInto(text: string, to: Uint8Array): { read: number; written: number };
}
declare var TextEncoder: { prototype: TextEncoder; new (): TextEncoder };

interface TextDecoder {
    readonly encoding: string;
    readonly fatal: boolean;
    readonly ignoreBOM: boolean;
    decode(bytes?: ArrayBuffer | ArrayBufferView, options?: { stream?: boolean }): string;
}
/** Knows utf-8, utf-16le, utf-16be and windows-1252 (latin1). */
declare var TextDecoder: {
    prototype: TextDecoder;
    new (label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean }): TextDecoder;
};

/** A URL, as the WHATWG standard has it. */
interface URL {
    href: string;
    readonly origin: string;
    protocol: string;
    username: string;
    password: string;
    host: string;
    hostname: string;
    port: string;
    pathname: string;
    search: string;
    readonly searchParams: URLSearchParams;
    hash: string;
    toString(): string;
    toJSON(): string;
}
declare var URL: {
    prototype: URL;
    new (url: string | URL, base?: string | URL): URL;
    canParse(url: string | URL, base?: string | URL): boolean;
    parse(url: string | URL, base?: string | URL): URL | null;
};

interface URLSearchParams extends Iterable<[name: string, value: string]> {
    readonly size: number;
    append(name: string, value: string): void;
    delete(name: string, value?: string): void;
    get(name: string): string | null;
    getAll(name: string): string[];
    has(name: string, value?: string): boolean;
    set(name: string, value: string): void;
    sort(): void;
    forEach(f: (value: string, name: string, parent: URLSearchParams) => void, self?: unknown): void;
    entries(): IterableIterator<[name: string, value: string]>;
    keys(): IterableIterator<string>;
    values(): IterableIterator<string>;
    toString(): string;
}
declare var URLSearchParams: {
    prototype: URLSearchParams;
    new (init?: string | string[][] | Record<string, string> | URLSearchParams): URLSearchParams;
};

interface DOMException extends Error {
    readonly code: number;
}
declare var DOMException: {
    prototype: DOMException;
    new (message?: string, name?: string | { name?: string; cause?: unknown }): DOMException;
};

// ---- Globals of tests.

declare var test: wstape.Test;
declare var assert: wstape.Assert;

/** Opens a session of the script under test, in which nothing waits. */
declare function open(options?: wstape.OpenOptions): wstape.TestSession;
