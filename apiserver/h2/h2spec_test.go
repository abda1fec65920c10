package h2_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// TestH2Spec runs all cases of h2spec, the strict ones too: what others say that RFC 9113 (and 7540) demands.
func TestH2Spec(t *testing.T) {
	s := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strings.Repeat("an answer of some length. ", 100))
	}))
	host, port := address(t, s)
	c := &config.Config{Host: host, Port: port, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000, TLS: true, Insecure: true, Strict: true}
	ran := 0
	var run func(t *testing.T, g *spec.TestGroup)
	run = func(t *testing.T, g *spec.TestGroup) {
		for n, one := range append(g.Tests, g.StrictTests...) {
			ran++
			t.Run(fmt.Sprintf("%s/%d", g.ID(), n+1), func(t *testing.T) {
				t.Parallel()
				conn, err := spec.Dial(c)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if err := one.Run(c, conn); err != nil { // one that it leaves out would be an error too
					t.Errorf("%s\n%s\n%v", one.Desc, one.Requirement, err)
				}
			})
		}
		for _, sub := range g.Groups {
			run(t, sub)
		}
	}
	t.Run("all", func(t *testing.T) {
		for _, g := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
			run(t, g)
		}
	})
	if ran < 140 {
		t.Errorf("h2spec had %d cases only", ran)
	}
}
