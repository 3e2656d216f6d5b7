package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstape/wstape/record"
	"github.com/wstape/wstape/record/boltstore"
	"github.com/wstape/wstape/tape"
)

const redacting = `record:
  redact:
    json: [$..token]
    text: ['sk_\w+']
`

// TestSecretsNeverTouchTheDisk: real peers say secrets in both directions,
// compressed with a window that remembers them; neither in the file nor in what
// its blocks unpack to, nor in what wstape prints, is one of them, also when the
// proxy is killed.
func TestSecretsNeverTouchTheDisk(t *testing.T) {
	t.Parallel()
	const script = `export function onMessage(msg, session) {
  if (msg.from === "client" || msg.text === undefined) return;
  session.note("saw " + msg.text); session.tag("last", "sk_tagged1");
  if (msg.text.includes("number 1")) return msg.text + " sk_scripted1";
}`
	for _, c := range []struct {
		calling, serving string
		script, killed   bool
	}{
		{python, node, false, false}, {node, python, true, false}, {gorilla, coders, true, true}, {python, python, false, true},
	} {
		t.Run(fmt.Sprintf("%s client, %s server, script %v, killed %v", c.calling, c.serving, c.script, c.killed), func(t *testing.T) {
			t.Parallel()
			client, s := newClient(t, c.calling), startServer(t, c.serving, serverOptions{})
			flags := []string{"--config", unhurried(t, redacting)}
			if c.script {
				flags = append(flags, "--script", scriptFile(t, "add.js", script))
			}
			p := startProxy(t, "ws://"+s.addr, flags...)
			if d := mustDial(t, client, p.url("/talk/sk_path1?token=hush-query"), dialOptions{}); !strings.HasPrefix(d.Extensions, "permessage-deflate") {
				t.Fatalf("the client negotiated %q", d.Extensions)
			}
			for i := range 4 {
				for _, text := range []string{
					fmt.Sprintf(`{"token":"hush-%d","n":%d,"say":"number %d"}`, i%2, i, i), fmt.Sprintf("number %d is sk_live%d", i, i%2),
				} {
					want := text
					if c.script && i == 1 {
						want += " sk_scripted1"
					}
					client.text(text)
					op, heard := client.hear()
					same(t, "the echo", []string{"text", want}, []string{op, heard})
				}
				client.binary(fmt.Sprintf("\x00\xffsk_bytes%d\x00", i))
				client.hear()
				out, _ := p.tape.run("show", "1", "--json") // while it is being recorded
				holdsNone(t, "what show prints", []byte(out))
			}
			if c.killed {
				p.kill()
			} else {
				hangUp(t, client, s, closing{Code: 1000, Reason: "bye sk_reason1"})
				p.stop()
			}
			holdsNone(t, "the log", []byte(p.stderr.String()))
			searchTape(t, p.tape.path)
			secrets := 0
			for _, m := range read[redactedMessage](p.tape, "show", "1", "--json") {
				if m.Gap != nil {
					t.Errorf("a gap: %s", m.Gap.Why)
				}
				if m.Redacted {
					secrets++
				}
				if m.Redacted != strings.Contains(m.data()+m.Reason, "redacted:") {
					t.Errorf("%+v: redacted is %v", m.message, m.Redacted)
				}
				if m.Op == "text" && (m.Wire == nil || !m.Wire.RSV1 || m.Wire.Len >= m.Len) && !c.script {
					t.Errorf("message %d does not say how it was compressed: %+v", m.Seq, m.Wire)
				}
			}
			if secrets < 20 {
				t.Errorf("only %d messages had secrets", secrets)
			}
		})
	}
}

// redactedMessage is a message that may have been redacted.
type redactedMessage struct {
	message
	Redacted bool
}

// TestSecretAcrossFragments: a secret whose halves come in frames, and reads, of
// their own; and what never comes to its end.
func TestSecretAcrossFragments(t *testing.T) {
	t.Parallel()
	addr, accepted := farServer(t)
	p := startProxy(t, "ws://"+addr, "--config", unhurried(t, redacting))
	dialer := websocket.Dialer{WriteBufferSize: 32}
	c, _, err := dialer.Dial(p.url("/"), http.Header{})
	must(t, err)
	defer c.Close()
	far, _ := receive(t, "the connection", accepted)
	w, err := c.NextWriter(websocket.TextMessage)
	must(t, err)
	for _, part := range []string{`{"say":"0123456789012345678901234567","to`, `ken":"hush-`, `fragmented-and-long-enough-for-a-frame","k":"sk_l`, `ive9"}`} {
		_, err = w.Write([]byte(part))
		must(t, err)
	}
	must(t, w.Close())
	far.hears(t, `{"say":"0123456789012345678901234567","token":"hush-fragmented-and-long-enough-for-a-frame","k":"sk_live9"}`)
	w, err = c.NextWriter(websocket.TextMessage)
	must(t, err)
	_, err = w.Write([]byte(`{"token":"hush-never-ends", "and":"sk_never1 ` + strings.Repeat("x", 100)))
	must(t, err)
	must(t, c.NetConn().Close())
	receive(t, "the end", far.ended)
	tape := p.stop()
	searchTape(t, tape.path)
	list := read[redactedMessage](tape, "show", "1", "--json")
	if len(list) < 2 || !list[0].Redacted || len(list[0].Frames) < 3 || list[1].Gap == nil || !strings.Contains(list[1].Gap.Why, "never ended") {
		t.Errorf("the tape has %+v", list)
	}
}

// holdsNone fails if one of the secrets of these tests is in what was written.
func holdsNone(t testing.TB, what string, written []byte) {
	t.Helper()
	for _, secret := range []string{"hush-", "sk_"} {
		if i := bytes.Index(written, []byte(secret)); i >= 0 {
			t.Errorf("%s holds a secret: %q", what, written[max(0, i-40):min(len(written), i+40)])
		}
	}
}

// searchTape looks for secrets in every file beside a tape, and in everything
// that the tape's values unpack to.
func searchTape(t testing.TB, path string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	must(t, err)
	for _, name := range files {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			raw, err := os.ReadFile(name)
			must(t, err)
			holdsNone(t, name, raw)
		}
	}
	ctx := context.Background()
	store, err := boltstore.OpenReader(path, time.Second)
	must(t, err)
	defer store.Close()
	segments := 0
	for e, err := range record.Sessions(ctx, store) {
		must(t, err)
		text, err := e.MarshalFull()
		must(t, err)
		holdsNone(t, "the session", text)
		for offset := uint64(0); ; {
			page, err := store.Segments(ctx, e.N, offset)
			must(t, err)
			for _, seg := range page {
				holdsNone(t, "a segment", seg.Raw)
				offset, segments = seg.End(), segments+1
			}
			if len(page) == 0 {
				break
			}
		}
		for _, from := range tape.Sides() {
			w, err := store.Window(ctx, e.N, from, math.MaxUint64)
			if must(t, err); len(w.Bytes) > 0 {
				t.Errorf("there is a window of the %s", from)
			}
		}
	}
	if segments == 0 {
		t.Error("nothing is on the tape")
	}
}
