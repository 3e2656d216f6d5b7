package wstest_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/wstape/wstape/internal/wstest"
	"github.com/wstape/wstape/tape"
)

// TestFramesOfTheRFC takes the examples of RFC 6455 section 5.7.
func TestFramesOfTheRFC(t *testing.T) {
	tests := []struct {
		name  string
		frame wstest.Frame
		want  string
	}{
		{"text", wstest.New(tape.Text, "Hello"), "\x81\x05Hello"},
		{"masked text", wstest.New(tape.Text, "Hello").From(tape.Client), "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"},
		{"first fragment", wstest.New(tape.Text, "Hel").Part(false), "\x01\x03Hel"},
		{"last fragment", wstest.New(tape.Continuation, "lo"), "\x80\x02lo"},
		{"ping", wstest.New(tape.Ping, "Hello"), "\x89\x05Hello"},
		{"256 bytes", wstest.New(tape.Binary, string(make([]byte, 256))), "\x82\x7e\x01\x00" + string(make([]byte, 256))},
		{"64 KiB", wstest.New(tape.Binary, string(make([]byte, 65536))), "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + string(make([]byte, 65536))},
	}
	for _, test := range tests {
		if got := wstest.Bytes(test.frame); string(got) != test.want {
			t.Errorf("%s: wrote %x", test.name, got)
		}
	}
}

func TestFramesAreReadAsTheyWereWritten(t *testing.T) {
	rng := wstest.Rand(t)
	want := wstest.Bytes(wstest.Frames(rng, tape.Client, 200)...)
	in := bytes.NewReader(want)
	var got []byte
	for {
		f, err := wstest.Read(in)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = f.Append(got)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back as other %d", len(want), len(got))
	}
}
