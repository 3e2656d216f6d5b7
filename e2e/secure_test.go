package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair is a certificate and its key, as PEM files.
type pair struct{ cert, key string }

func (p *pair) load(t testing.TB) tls.Certificate {
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	must(t, err)
	return c
}

// authority is a private certificate authority.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem")}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "wstape e2e"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = a.sign(template, a.file)
	return a
}

// issue makes a certificate for this machine.
func (a *authority) issue() *pair {
	dir := a.t.TempDir()
	p := &pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	_, key := a.sign(template, p.cert)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(a.t, err)
	writePEM(a.t, p.key, "PRIVATE KEY", der)
	return p
}

// sign signs with the authority's key, or, for the authority itself, its own.
func (a *authority) sign(template *x509.Certificate, file string) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	must(a.t, err)
	writePEM(a.t, file, "CERTIFICATE", der)
	cert, err := x509.ParseCertificate(der)
	must(a.t, err)
	return cert, key
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// TestSecure: TLS on both legs, each with a certificate of a private authority.
func TestSecure(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	front, back := ca.issue(), ca.issue()
	for _, serving := range []string{python, gorilla} {
		t.Run(serving+" server", func(t *testing.T) {
			t.Parallel()
			s := startServer(t, serving, serverOptions{tls: back})
			p := startProxy(t, "wss://"+s.addr, "--upstream-ca", ca.file, "--tls-cert", front.cert, "--tls-key", front.key)
			talked := 0
			for _, kind := range kinds {
				t.Run(kind+" client", func(t *testing.T) {
					c := newClient(t, kind)
					talked++
					mustDial(t, c, "wss://"+p.addr+"/"+kind, dialOptions{CA: ca.file})
					echo(t, c, "in private")
					echo(t, c, noise("secret", 200_000))
					hangUp(t, c, s, closing{Code: 4000, Reason: "enough"})
				})
			}
			tape := p.stop()
			list := tape.sessions()
			same(t, "number of sessions", talked, len(list))
			for _, e := range list {
				same(t, "ending", &ending{Kind: "close", Code: 4000, Reason: "enough", From: "client"}, e.Ending)
				same(t, "upstream", "wss://"+s.addr+e.URL, e.Upstream)
				same(t, "first words", said{From: "client", Op: "text", Data: "in private", Compressed: true}, tape.said(e.N)[0])
			}
		})
	}
}

// TestSecureKilled: over TLS too, a server that dies is not a server that closes.
func TestSecureKilled(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	front, back := ca.issue(), ca.issue()
	s := startServer(t, python, serverOptions{tls: back})
	p := startProxy(t, "wss://"+s.addr, "--upstream-ca", ca.file, "--tls-cert", front.cert, "--tls-key", front.key)
	c := newClient(t, python)
	mustDial(t, c, "wss://"+p.addr+"/", dialOptions{CA: ca.file})
	echo(t, c, "still here")
	s.kill()
	same(t, "code", 1006, c.closed().Code)
	wantBroken(t, p.stop(), "server")
}

// TestUntrusted: an upstream that nobody vouches for is not talked to.
func TestUntrusted(t *testing.T) {
	t.Parallel()
	s := startServer(t, python, serverOptions{tls: newAuthority(t).issue()})
	p := startProxy(t, "wss://"+s.addr)
	same(t, "status", 502, newClient(t, gorilla).dial(p.url("/"), dialOptions{}).Status)
	e := p.stop().only()
	same(t, "state", "refused", e.State)
	if e.Ending == nil || !strings.Contains(e.Ending.Why, "certificate") {
		t.Errorf("ending %+v does not speak of the certificate", e.Ending)
	}
}

// TestUnixSocket: the upstream listens on a path.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "e2e-") // a socket's path must be short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "app.sock")
	s := startServer(t, gorilla, serverOptions{unix: path})
	p := startProxy(t, "unix:"+path)
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			c := newClient(t, kind)
			mustDial(t, c, p.url("/"+kind), dialOptions{})
			echo(t, c, "over a path")
			hangUp(t, c, s, closing{Code: 1000, Reason: "done"})
		})
	}
	tape := p.stop()
	for _, e := range tape.sessions() {
		if !strings.Contains(e.Upstream, path) {
			t.Errorf("upstream %q does not name %s", e.Upstream, path)
		}
		same(t, "first words", said{From: "client", Op: "text", Data: "over a path", Compressed: true}, tape.said(e.N)[0])
	}
}
