package bootstraptoken

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

func secret(kind corev1.SecretType, expiration string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "t"}, Type: kind, Data: map[string][]byte{"expiration": []byte(expiration)}}
}

func TestDecide(t *testing.T) {
	tests := map[string]struct {
		secret *corev1.Secret
		want   string
	}{
		"still valid":          {secret(secretType, "2026-01-02T03:01:00Z"), "again in 1m0s"},
		"expired":              {secret(secretType, "2026-01-02T03:00:00Z"), "delete Secret t"},
		"without time":         {secret(secretType, ""), ""},
		"unreadable":           {secret(secretType, "soon"), "delete Secret t"},
		"another secret":       {secret("Opaque", "2020-01-02T03:00:00Z"), ""},
		"in another time zone": {secret(secretType, "2026-01-02T05:00:30+02:00"), "again in 30s"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := world.Show(Decide(View{tt.secret, world.Start})); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		done := make(chan error)
		go func() { done <- Run(t.Context(), w.Env()) }()
		t.Cleanup(func() { <-done })
		world.Put(w, client.Secrets, secret(secretType, time.Now().Add(time.Hour).Format(time.RFC3339)))
		time.Sleep(59 * time.Minute)
		if world.Get(w, client.Secrets, "kube-system", "t") == nil {
			t.Error("deleted before its time")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if world.Get(w, client.Secrets, "kube-system", "t") != nil {
			t.Error("still there after its time")
		}
	})
}
