package script

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"strings"

	"github.com/dop251/goja"
)

const (
	mostRandom = 65536    // bytes that getRandomValues gives at once, by its standard
	mostDigest = 16 << 20 // bytes that digest takes: the runtime stands still meanwhile
)

// cryptoMember makes the members of the global crypto.
func (g *globals) cryptoMember(name string) goja.Value {
	switch name {
	case "randomUUID":
		return newMethod(g.rt, name, 0, func(goja.FunctionCall) goja.Value { return g.rt.ToValue(g.randomUUID()) })
	case "getRandomValues":
		return newMethod(g.rt, name, 1, g.getRandomValues)
	case "subtle":
		subtle := g.rt.NewObject()
		putProperty(subtle, "digest", newMethod(g.rt, "digest", 2, g.digest))
		return subtle
	}
	return nil
}

// randomUUID returns a version 4 UUID.
func (g *globals) randomUUID() string {
	var p [16]byte
	g.fill(p[:])
	p[6] = p[6]&0x0F | 0x40 // version 4
	p[8] = p[8]&0x3F | 0x80 // variant of RFC 9562
	return fmt.Sprintf("%x-%x-%x-%x-%x", p[:4], p[4:6], p[6:8], p[8:10], p[10:])
}

// getRandomValues fills a typed array of integers in place.
func (g *globals) getRandomValues(c goja.FunctionCall) goja.Value {
	o, _ := c.Argument(0).(*goja.Object)
	if o == nil || viewKind(o) == "" {
		panic(g.rt.NewTypeError("crypto.getRandomValues needs a typed array"))
	}
	if kind := viewKind(o); strings.HasPrefix(kind, "Float") || kind == "DataView" {
		g.throwDOM("TypeMismatchError", "crypto.getRandomValues needs an array of integers, not a "+kind)
	}
	p, ok := bufferSource(o)
	if !ok {
		panic(g.rt.NewTypeError("crypto.getRandomValues needs a typed array"))
	}
	if len(p) > mostRandom {
		g.throwDOM("QuotaExceededError", fmt.Sprintf("crypto.getRandomValues gives at most %d bytes, not %d", mostRandom, len(p)))
	}
	g.fill(p)
	return o
}

// digest returns a promise of a hash. It is settled already: hashing at most
// mostDigest bytes takes less than handing them to somebody else is worth.
func (g *globals) digest(c goja.FunctionCall) goja.Value {
	promise, resolve, reject := g.rt.NewPromise()
	var sum []byte
	failed := g.rt.Try(func() { sum = g.sum(c.Argument(0), c.Argument(1)) })
	if failed != nil {
		propagate(reject(failed.Value()))
	} else {
		propagate(resolve(g.rt.NewArrayBuffer(sum)))
	}
	return g.rt.ToValue(promise)
}

// sum hashes bytes with the named algorithm, given as a string or as {name}.
func (g *globals) sum(algorithm, source goja.Value) []byte {
	if o, ok := algorithm.(*goja.Object); ok {
		algorithm = o.Get("name")
	}
	p, ok := bufferSource(source)
	if !ok {
		panic(g.rt.NewTypeError("crypto.subtle.digest needs an ArrayBuffer or a view of one"))
	}
	if len(p) > mostDigest {
		g.throwDOM("QuotaExceededError", fmt.Sprintf("crypto.subtle.digest takes at most %d bytes, not %d", mostDigest, len(p)))
	}
	name := "undefined"
	if algorithm != nil {
		name = algorithm.String()
	}
	switch strings.ToUpper(name) {
	case "SHA-1":
		sum := sha1.Sum(p)
		return sum[:]
	case "SHA-256":
		sum := sha256.Sum256(p)
		return sum[:]
	case "SHA-384":
		sum := sha512.Sum384(p)
		return sum[:]
	case "SHA-512":
		sum := sha512.Sum512(p)
		return sum[:]
	}
	g.throwDOM("NotSupportedError", "crypto.subtle.digest does not know the algorithm "+name)
	return nil
}
