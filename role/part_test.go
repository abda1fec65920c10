package role

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lighter-k8s/lighter/pki"
)

// TestPartFollows: a part that runs alone trusts whom its kubeconfig names now, without a restart: its kubelet knows callers of an
// authority that came after it began.
func TestPartFollows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	authority := func(name string) *pki.Authority {
		a, err := pki.NewAuthority(name)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	write := func(pem []byte) {
		text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
			"clusters":[{"name":"c","cluster":{"server":"https://192.0.2.1:6443","certificate-authority-data":%q}}],"users":[{"name":"u","user":{"token":"t"}}]}`,
			base64.StdEncoding.EncodeToString(pem))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old, next := authority("old"), authority("next")
	write(old.PEM())
	synctest.Test(t, func(t *testing.T) {
		_, trust, err := Part{Kubeconfig: file}.connect(t.Context(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(trust.PEM(), old.PEM()) {
			t.Error("at first it does not trust whom the kubeconfig names")
		}
		both := append(bytes.Clone(next.PEM()), old.PEM()...)
		for _, pem := range [][]byte{both, next.PEM()} {
			write(pem)
			time.Sleep(2 * time.Minute)
			if !bytes.Equal(trust.PEM(), pem) {
				t.Errorf("trusts %d bytes of authorities, want %d", len(trust.PEM()), len(pem))
			}
		}
		write([]byte("no authority"))
		time.Sleep(2 * time.Minute)
		if !bytes.Equal(trust.PEM(), next.PEM()) {
			t.Error("a file that says nothing is taken over")
		}
	})
}
