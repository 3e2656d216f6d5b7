package replay

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"
)

// The messages of the tables were recorded and came at these times.
func recordedAndNow() (recorded, now time.Time) {
	return time.Date(2026, 3, 28, 21, 30, 0, 0, time.UTC), time.Date(2026, 11, 22, 10, 11, 12, 0, time.UTC)
}

func TestVolatileStrings(t *testing.T) {
	recorded, now := recordedAndNow()
	const (
		uuid1, uuid2 = "0192f0c1-7b1c-7e55-9d6a-3f1b2c4d5e6f", "7d444840-9dc0-11d1-b245-5ffdce74fad2"
		rnd1, rnd2   = "V1StGXR8_Z5jdHi6B-myTq", "k9Zq0LwPx7RrTn2_aUe4Gh"
		hex1, hex2   = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b71c2d3e4f5a6b7c8d"
	)
	jwt := func(claims string) string {
		b := base64.RawURLEncoding.EncodeToString
		return b([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + b([]byte(claims)) + "." + b([]byte("0123456789abcdef0123456789abcdef"))
	}
	for _, c := range []struct {
		reason, want, got string
		volatile          bool
	}{
		{"UUIDs, whatever the version", uuid1, uuid2, true},
		{"UUIDs, whatever the case", uuid1, strings.ToUpper(uuid2), true},
		{"UUIDs with the same text before them", "req-" + uuid1, "req-" + uuid2, true},
		{"UUIDs with the same text around them", "user:" + uuid1 + ":x", "user:" + uuid2 + ":x", true},
		{"UUIDs as a URN", "urn:uuid:" + uuid1, "urn:uuid:" + uuid2, true},
		{"UUIDs in braces", "{" + uuid1 + "}", "{" + uuid2 + "}", true},
		{"two UUIDs", uuid1 + "/" + uuid2, uuid2 + "/" + uuid1, true},
		{"other text before the UUID", "req-" + uuid1, "res-" + uuid2, false},
		{"other text behind the UUID", "user:" + uuid1 + ":x", "user:" + uuid2 + ":y", false},
		{"a UUID for something else", uuid1, rnd1, false},
		{"a UUID on one side only", uuid1, "none", false},
		{"a UUID that somebody made up", uuid1, "00000000-0000-0000-0000-000000000000", false},
		{"UUIDs that somebody made up", "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222", false},

		{"hexadecimal", hex1, hex2, true},
		{"hexadecimal of another length", hex1, hex2[:16], true},
		{"hexadecimal in upper case", strings.ToUpper(hex1), strings.ToUpper(hex2), true},
		{"hexadecimal with 0x", "0x" + hex1, "0x" + hex2, true},
		{"0x on one side only", "0x" + hex1, hex2, false},
		{"trace context", "00-" + hex1 + "-00f067aa0ba902b7-01", "00-" + hex2 + "-b7ad6b7169203331-01", true},
		{"another flag of the trace context", "00-" + hex1 + "-00f067aa0ba902b7-01", "00-" + hex2 + "-b7ad6b7169203331-00", false},
		{"mixed case is not hexadecimal, and few digits are no base64", "AAAAaaaa1111AAAA", "BBBBbbbb2222BBBB", false},
		{"a counter with leading zeros", "0x00000000000000a1", "0x00000000000000a2", false},
		{"digits alone are a number", "1234567890123456", "6543210987654321", false},
		{"short hexadecimal", "a1b2c3d4e5f6a7b", "b1c2d3e4f5a6b7c", false},

		{"random base64url", rnd1, rnd2, true},
		{"random base64url of another length", rnd1, rnd2 + "Qz8", true},
		{"a token with the same prefix", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "sk_live_9fB47JpMzkXEbskuU2yeq8ed", true},
		{"a token of another kind", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "sk_test_9fB47JpMzkXEbskuU2yeq8ed", false},
		{"a token of another kind, told by two letters", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "pk_live_9fB47JpMzkXEbskuU2yeq8ed", false},
		{"a token with a version", "user-profile-v2-" + rnd1, "user-profile-v2-" + rnd2, true},
		{"a token with another version", "user-profile-v2-" + rnd1, "user-profile-v3-" + rnd2, false},
		{"a token of another day", "session-2024-01-15-" + rnd1, "session-2024-01-16-" + rnd2, false},
		{"two tokens", "pi_3MtwBwLkdIwHu7ix28a3tqPa_secret_YrKJUKribcBjcG8HVhfZluoGH", "pi_3NuxCxMleJxIv8jy39b4urQb_secret_ZsLKVLsjcdCkdH9IWigAmvpHI", true},
		{"an API key", "Bearer " + rnd1, "Bearer " + rnd2, true},
		{"another scheme", "Bearer " + rnd1, "Basic " + rnd2, false},
		{"tokens in a URL", "wss://h.example/rooms/" + rnd1 + "?token=" + hex1, "wss://h.example/rooms/" + rnd2 + "?token=" + hex2, true},
		{"another path of the URL", "wss://h.example/rooms/" + rnd1, "wss://h.example/users/" + rnd2, false},
		{"padded base64", "dGhXN0t6Q8+/aBcDeFgHiA==", "k9Zq0LwPx7RrTn2/aUe4Gg==", true},
		{"padded base64, differently", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "HSmrc0sMlYUkAGmm5OPpG2HaGWk=", true},
		{"a Firebase push id", "-OFqT7xkL9pZ3vWcN2bR", "-OGrU8ylM0qA4wXdO3cS", true},
		{"ULIDs", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01BX5ZZKBKACTAV9WEVGEMMVS0", true},
		{"a cuid", "cjld2cjxh0000qzrmn831i7rn", "ckopqwooh000001la8mbi2im9", true},
		{"base64 of text is text", base64.StdEncoding.EncodeToString([]byte("hello wide world")), base64.StdEncoding.EncodeToString([]byte("hello mean world")), false},
		{"a path", "/api/v2/users/list/All", "/api/v2/users/list/New", false},
		{"words", "getUserPreferencesResponse", "getUserPreferencesRequests", false},
		{"random for words", rnd1, "getUserPreferencesResp", false},
		{"marks of the skeleton in the text", "\x04", "\x04", false},
		{"a text with a mark in it", "\x04 and " + rnd1, rnd2 + " and \x04", false},

		{"JSON Web Tokens", jwt(`{"sub":"a","iat":1}`), jwt(`{"sub":"b","iat":22}`), true},
		{"JSON Web Tokens as credentials", "Bearer " + jwt(`{"sub":"a"}`), "Bearer " + jwt(`{"sub":"b"}`), true},
		{"no JSON in the claims", "eyJhbGciOiJub25lIn0.YWJj.", "eyJhbGciOiJub25lIn0.YWJk.", false},
		{"no algorithm in the header", "eyJhIjoxfQ.eyJhIjoxfQ.", "eyJhIjoxfQ.eyJhIjoyfQ.", false},

		{"RFC 3339", "2026-03-28T21:30:01Z", "2026-11-22T10:11:13Z", true},
		{"RFC 3339 with a fraction", "2026-03-28T21:30:01.5Z", "2026-11-22T10:11:13.123456789Z", true},
		{"RFC 3339 with a zone", "2026-03-28T22:30:01+01:00", "2026-11-22T12:11:13+02:00", true},
		{"with a space", "2026-03-28 21:30:01.25", "2026-11-22 10:11:13", true},
		{"without a zone", "2026-03-28T21:30:01", "2026-11-22T10:11:13", true},
		{"compact", "20260328T213001Z", "20261122T101113Z", true},
		{"HTTP", "Sat, 28 Mar 2026 21:30:01 GMT", "Sun, 22 Nov 2026 10:11:13 GMT", true},
		{"JavaScript", "Sat Mar 28 2026 21:30:01 GMT+0000 (Coordinated Universal Time)", "Sun Nov 22 2026 10:11:13 GMT+0100 (Central European Standard Time)", true},
		{"another form", "2026-03-28T21:30:01Z", "2026-11-22 10:11:13Z", false},
		{"a day is not a time", "2026-03-28", "2026-11-22", false},
		{"far from the recording", "2026-03-20T21:30:01Z", "2026-11-22T10:11:13Z", false},
		{"far from now", "2026-03-28T21:30:01Z", "2026-03-28T21:30:02Z", false},
		{"not a time", "2026-13-28T21:30:01Z", "2026-11-22T10:11:13Z", false},
	} {
		for _, turned := range []bool{false, true} {
			want, got, r, n := c.want, c.got, recorded, now
			if turned { // which side has which must not matter
				want, got, r, n = got, want, n, r
			}
			if volatile("", scalar{'s', want}, scalar{'s', got}, r, n) != c.volatile {
				t.Errorf("%s: %q for %q: volatile %v, turned %v", c.reason, got, want, !c.volatile, turned)
			}
		}
	}
}

func TestVolatileNumbers(t *testing.T) {
	recorded, now := recordedAndNow()
	r, n := fmt.Sprint(recorded.Unix()+60), fmt.Sprint(now.Unix()+60)
	for _, c := range []struct {
		reason, key string
		want, got   scalar
		volatile    bool
	}{
		{"seconds", "ts", scalar{'n', r}, scalar{'n', n}, true},
		{"seconds with a fraction", "time", scalar{'n', r + ".123"}, scalar{'n', n + ".5"}, true},
		{"seconds with a fraction on one side", "time", scalar{'n', r + ".123"}, scalar{'n', n}, true},
		{"milliseconds", "createdAt", scalar{'n', r + "123"}, scalar{'n', n + "456"}, true},
		{"milliseconds with a fraction", "createdAt", scalar{'n', r + "123.5"}, scalar{'n', n + "456"}, true},
		{"microseconds", "t", scalar{'n', r + "123456"}, scalar{'n', n + "123456"}, true},
		{"nanoseconds", "timestamp", scalar{'n', r + "123456789"}, scalar{'n', n + "123456789"}, true},
		{"as a string", "ts", scalar{'s', r + ".000247"}, scalar{'s', n + ".000300"}, true},
		{"a string for a number", "ts", scalar{'s', r}, scalar{'n', n}, false},
		{"another unit", "ts", scalar{'n', r}, scalar{'n', n + "000"}, false},
		{"a fraction of a microsecond", "ts", scalar{'n', r + "123456.5"}, scalar{'n', n + "123456.5"}, false},
		{"not under the name of a time", "count", scalar{'n', r}, scalar{'n', n}, false},
		{"in an array at the top", "", scalar{'n', r}, scalar{'n', n}, false},
		{"far from now", "ts", scalar{'n', r}, scalar{'n', r}, false},
		{"far from the recording", "ts", scalar{'n', n}, scalar{'n', n}, false},
		{"an exponent", "ts", scalar{'n', "1.7e9"}, scalar{'n', "1.8e9"}, false},
		{"negative", "ts", scalar{'n', "-" + r}, scalar{'n', "-" + n}, false},
		{"too many digits", "ts", scalar{'n', strings.Repeat("9", 40)}, scalar{'n', strings.Repeat("9", 40)}, false},
		{"other numbers", "id", scalar{'n', "123456789"}, scalar{'n', "123456780"}, false},
		{"true and false", "ts", scalar{kind: 't'}, scalar{kind: 'f'}, false},
		{"null", "ts", scalar{kind: 'z'}, scalar{kind: 'z'}, false},
		{"empty", "ts", scalar{'s', ""}, scalar{'s', ""}, false},
	} {
		if volatile(c.key, c.want, c.got, recorded, now) != c.volatile {
			t.Errorf("%s: %s: %v for %v: volatile %v", c.reason, c.key, c.got, c.want, !c.volatile)
		}
	}
}

// written are names and values that people chose.
func written() []string {
	return strings.Fields(`
		user-profile-v2-update getUserPreferencesResponse internationalization ORDER_STATUS_CHANGED_1 session-2024-01-15-a
		getUserIdByAppKeyAndVersion XMLHttpRequestEventTarget onMessageReceivedFromServer application/vnd.api+json
		connection_terminate GQL_CONNECTION_KEEP_ALIVE phx_reply presence_state_diff room:lobby:presence-diff
		org.springframework.messaging.simp.stomp com.example.trading.OrderExecutionReport io.socket.engine.transports
		wss://stream.binance.com:9443/ws/btcusdt@trade https://example.com/api/v2/users/12345/profile?include=roles
		btcusdt@depth20@100ms BTC-USDT-SWAP-2024-12-27 spot.order_book_update.BTC_USDT perpetual-futures-contract
		matrix.org/_matrix/client/v3/rooms m.room.encrypted.megolm.v1.aes-sha2 m.room.history_visibility
		urn:ietf:params:oauth:grant-type:token-exchange http://www.w3.org/2001/XMLSchema-instance
		SCRAM-SHA-256-PLUS TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 permessage-deflate graphql-transport-ws
		client_max_window_bits server_no_context_takeover Sec-WebSocket-Extensions content-security-policy
		Mozilla/5.0-Windows-NT-10.0-Win64-x64 AppleWebKit/537.36-KHTML-like-Gecko Chrome/120.0.6099.129
		2001:0db8:85a3:0000:0000:8a2e:0370:7334 192.168.100.200:8080 ec2-54-210-10-20.compute-1.amazonaws.com
		us-east-1b-production-cluster-03 k8s-worker-node-pool-2 deployment/chat-server-canary nginx-ingress-controller
		v1.28.3-gke.1203001 1.0.0-alpha.beta.11 2024.01.15-nightly-build.4 release/2024-Q1-hotfix-12
		Europe/Berlin-summertime America/Argentina/Buenos_Aires Pacific/Port_Moresby de-DE-u-co-phonebk
		INVALID_ARGUMENT_EXCEPTION ERR_TOO_MANY_REDIRECTS SQLSTATE_23505_unique_violation ECONNREFUSED_127_0_0_1
		invoice-2024-000123-final INV-2024-00000123-DE order_00000000000001234 ticket#20240115-000042 SKU-RED-XXL-2024-001
		DE89370400440532013000 4111111111111111 +49-30-901820-1234 978-3-16-148410-0-isbn MAC-00-1B-44-11-3A-B7
		alice.wonderland@example.org bob_the_builder_1999 the_quick_brown_fox_jumps xX_DarkLord_Xx_2009 jean-baptiste-grenouille
		Donaudampfschifffahrtsgesellschaft Geschwindigkeitsbegrenzung rechtsschutzversicherung anticonstitutionnellement
		pneumonoultramicroscopic antidisestablishmentarianism supercalifragilistic przedsiębiorczość wszechstronność
		yonghuxinxiguanlixitong sebagaimanamestinya keskustelupalvelin Llanfairpwllgwyngyll
		abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789abcdef aaaaaaaaaaaaaaaaaaaaaa xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx
		deadbeefdeadbeefdeadbeef 0xdeadbeefdeadbeef 0000000000000001 00000000-0000-0000-0000-000000000001
		setIPv6MulticastLoopback getHttp2ServerPushEnabled parseUTF8ToUTF16Buffer base64UrlEncodeWithoutPadding
		LoadInt16x8SlicePart useSHA256ForHMACSignature isOAuth2LoginEnabled AES256GCMWithRandomNonce H264HighProfileLevel41
		text/event-stream;charset=utf-8 image/svg+xml;base64 multipart/form-data;boundary M12.5-20.75L100.25-3 rgba(255,128,0,0.75)
		{"type":"subscribe","channel":"ticker"} <message-type="groupchat"/> SELECT/users/where/active=true
		SGVsbG8gV29ybGQhIFRoaXMgaXMgdGV4dA== dXNlcjpwYXNzd29yZDEyMw subscription-confirmed-12 heartbeat_interval_ms_30000
	`)
}

func TestWhatPeopleWriteIsNotVolatile(t *testing.T) {
	for _, text := range append(written(), "Hello, how are you doing today?", "The server said: connection-reset-by-peer (104)") {
		if s, ok := skeleton(text); ok {
			t.Errorf("%q counts as random: %q", text, s)
		}
	}
	if n := len(written()); n < 100 {
		t.Errorf("only %d names", n)
	}
}

// TestRandomIsVolatile measures how often two random values count as volatile.
func TestRandomIsVolatile(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	of := func(alphabet string, n int) func() string {
		return func() string {
			b := make([]byte, n)
			for i := range b {
				b[i] = alphabet[r.Intn(len(alphabet))]
			}
			return string(b)
		}
	}
	bytes := func(n int, encode func([]byte) string) func() string {
		return func() string {
			b := make([]byte, n)
			r.Read(b)
			return encode(b)
		}
	}
	prefixed := func(prefix string, f func() string) func() string { return func() string { return prefix + f() } }
	for _, c := range []struct {
		name  string
		least int // of 10,000 pairs
		value func() string
	}{
		{"16 bytes in base64url", 9880, of(base64url, 22)},
		{"32 bytes in base64url", 9880, of(base64url, 43)},
		{"nanoid", 9850, of(base64url, 21)},
		{"20 of base64url", 9850, of(base64url, 20)},
		{"16 bytes in base64", 9900, bytes(16, base64.StdEncoding.EncodeToString)},
		{"32 bytes in base64", 9900, bytes(32, base64.StdEncoding.EncodeToString)},
		{"64 bytes in base64", 9900, bytes(64, base64.StdEncoding.EncodeToString)},
		{"8 bytes in hexadecimal", 9970, bytes(8, hex.EncodeToString)},
		{"16 bytes in hexadecimal", 9999, bytes(16, hex.EncodeToString)},
		{"ULID", 9980, of("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 26)},
		{"base32 in lower case", 9900, of("abcdefghijklmnopqrstuvwxyz234567", 26)},
		{"16 of a-z0-9", 9750, of(base64url[26:62], 16)},
		{"20 of a-z0-9", 9900, of(base64url[26:62], 20)},
		{"16 of A-Za-z0-9", 9800, of(base64url[:62], 16)},
		{"a key with a prefix", 9970, prefixed("sk_live_", of(base64url[:62], 24))},
		{"a nanoid with a prefix", 9800, prefixed("user-", of(base64url, 21))},
		{"Socket.IO id", 9980, bytes(12, func(b []byte) string { return base64.URLEncoding.EncodeToString(append(b, 0, 0, 3)) })},
	} {
		n, alone := 0, 0
		for range 10_000 {
			want, got := scalar{'s', c.value()}, scalar{'s', c.value()}
			if volatile("", want, got, time.Time{}, time.Time{}) {
				n++
			}
			if distinctive(want) {
				alone++
			}
		}
		if n < c.least || alone < 9850 {
			t.Errorf("%s: volatile %d of 10000, distinctive %d", c.name, n, alone)
		}
		t.Logf("%-24s volatile %5.2f %%, distinctive %5.2f %%", c.name, float64(n)/100, float64(alone)/100)
	}
}

func TestDistinctive(t *testing.T) {
	for text, want := range map[string]bool{
		"a8Kd02Qz":                             true, // letters and digits without words
		"k3j9x0q2m7":                           true, // Math.random().toString(36)
		"9f8e7d6c":                             true, // hexadecimal
		"0x9f8e7d6c":                           true,
		"20-character":                         false,
		"V1StGXR8_Z5jdHi6B-myT":                true,
		"0192f0c1-7b1c-7e55-9d6a-3f1b2c4d5e6f": true,
		"482915":                               true, // a one-time code
		"482910":                               true,
		"1500000":                              false, // a round number
		"12345":                                false,
		"room1234":                             false,
		"username":                             false,
		"message-2":                            false,
		"deadbeef":                             false, // a word
		"aaaa1111":                             false,
		"übergrößenträger42":                   false,
		"":                                     false,
		"a8Kd02Q":                              false, // short
	} {
		if distinctive(scalar{'s', text}) != want {
			t.Errorf("%q: distinctive %v", text, !want)
		}
	}
	for text, want := range map[string]bool{
		"1": false, "99999": false, "100000": false, "123456": true, "-123456": true, "1.23456": true, "1e300": false, "0.000001": false, "175928847299117063": true,
	} {
		if distinctive(scalar{'n', text}) != want {
			t.Errorf("%s: distinctive %v", text, !want)
		}
	}
	for _, kind := range "tfz{[" {
		if distinctive(scalar{kind: byte(kind)}) {
			t.Errorf("%c is distinctive", kind)
		}
	}
}

func TestWords(t *testing.T) {
	for name, want := range map[string]string{
		"createdAtMs": "created at ms", "HTTPTime": "http time", "last_seen": "last seen", "request-id": "request id",
		"userID": "user id", "id2": "id 2", "ID": "id", "": "", "__": "", "größeId": "größe id", "a.b c": "a b c", "aB": "a b", "eTag": "e tag",
	} {
		if got := strings.Join(words(name), " "); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	list := strings.Fields
	for _, c := range []struct {
		name    string
		f       func(string) bool
		yes, no []string
	}{
		{"timeLike", timeLike,
			list("ts time timestamp date now at t T E created updated expires exp iat nbf started ended last lastSeen last_login created_at createdAt event_ts " +
				"startTime start_time serverTime servertime messageTimestamp sent_at_ms time_ms Date X-Timestamp createdat utc"),
			list("data text id update type status state format attempt latitude e n total template tsunami count price candidate atHome timer")},
		{"idLike", idLike,
			list("id ID _id userId user_id requestId request-id reqid msgid ref join_ref seq ack nonce token access_token sid cid rid tid req request correlationId " +
				"txn transaction deliveryTag receipt receipt-id handle cookie session sessionKey sub subId subscription stream uuid guid id2 inReplyTo reply_to idempotency_key invocationId cursor"),
			list("type data text value price name method event n paid valid grid idle tokenType tokens key apiKey count to video android width message user sessionType")},
	} {
		for _, key := range c.yes {
			if !c.f(key) {
				t.Errorf("%q is not %s", key, c.name)
			}
		}
		for _, key := range append(c.no, "") {
			if c.f(key) {
				t.Errorf("%q is %s", key, c.name)
			}
		}
	}
}

func FuzzVolatile(f *testing.F) {
	for _, text := range append(written()[:20], "0192f0c1-7b1c-7e55-9d6a-3f1b2c4d5e6f", "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.", "V1StGXR8_Z5jdHi6B-myTq", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "1774733401.5", "2026-03-28T21:30:01Z", "\xff\x04") {
		f.Add("ts", text, text+"1", byte('s'), byte('s'))
		f.Add("id", "x-"+text, text, byte('n'), byte('n'))
	}
	recorded, now := recordedAndNow()
	kinds := []byte("sntfz{[")
	f.Fuzz(func(t *testing.T, key, want, got string, kind1, kind2 byte) {
		a, b := scalar{kind1, want}, scalar{kind2, got}
		there := volatile(key, a, b, recorded, now)
		if back := volatile(key, b, a, now, recorded); there != back {
			t.Errorf("%q: %q and %q: volatile %v one way, %v the other", key, want, got, there, back)
		}
		if there && (a.kind != b.kind || a.kind != 's' && a.kind != 'n') {
			t.Errorf("%c and %c are volatile", a.kind, b.kind)
		}
		if there && a.kind == 's' && !volatile(key, a, a, recorded, recorded) {
			t.Errorf("%q is volatile beside %q, but not beside itself", want, got)
		}
		if s, ok := skeleton(want); ok != strings.ContainsAny(s, marks) {
			t.Errorf("%q: skeleton %q, %v", want, s, ok)
		}
		if !slices.Contains(kinds, kind1) && distinctive(a) {
			t.Errorf("a value of kind %q is distinctive", kind1)
		}
		idLike(key)
	})
}
