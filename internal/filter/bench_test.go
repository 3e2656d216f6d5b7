package filter

import "testing"

func BenchmarkMatch(b *testing.B) {
	for name, text := range map[string]string{"fields": `from == "server" and len > 1000`, "text": `text contains "BTC"`, "json": `json.type == "subscribe"`} {
		f, err := Compile(text)
		if err != nil {
			b.Fatal(err)
		}
		s := subject()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Match(s)
			}
		})
	}
}
