package serviceaccounttoken

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
	"github.com/lighter-k8s/lighter/pki"
)

func account(name, uid string, secrets ...string) *corev1.ServiceAccount {
	a := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID(uid)}}
	for _, s := range secrets {
		a.Secrets = append(a.Secrets, corev1.ObjectReference{Name: s})
	}
	return a
}

// secret makes the token Secret t for an account; data is "key=value ..." and uid may be "".
func secret(of, uid, data string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "t", Annotations: map[string]string{corev1.ServiceAccountNameKey: of}},
		Type: corev1.SecretTypeServiceAccountToken}
	if uid != "" {
		s.Annotations[corev1.ServiceAccountUIDKey] = uid
	}
	for _, word := range strings.Fields(data) {
		key, value, _ := strings.Cut(word, "=")
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[key] = []byte(value)
	}
	return s
}

// show prints actions, and what a written object holds.
func show(todo []controller.Action) string {
	var out []string
	for _, a := range todo {
		line := a.String()
		switch o := a.Object.(type) {
		case *corev1.Secret:
			if a.Verb == controller.UpdateObject {
				line += "; uid=" + o.Annotations[corev1.ServiceAccountUIDKey]
				for _, key := range slices.Sorted(maps.Keys(o.Data)) {
					line += fmt.Sprintf(" %s=%s", key, o.Data[key])
				}
			}
		case *corev1.ServiceAccount:
			line += fmt.Sprintf("; lists %v", o.Secrets)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestDecide(t *testing.T) {
	const whole = "ca.crt=CA namespace=a token=T"
	leaving := secret("bot", "", "")
	leaving.DeletionTimestamp = &metav1.Time{Time: world.Start}
	tests := map[string]struct {
		secret  *corev1.Secret
		account *corev1.ServiceAccount
		ca      string
		want    string
	}{
		"an empty one is filled":              {secret("bot", "", ""), account("bot", "1"), "CA", "update Secret t: token secret is not complete; uid=1 " + whole},
		"a complete one is left alone":        {secret("bot", "1", whole), account("bot", "1"), "CA", ""},
		"what users add stays":                {secret("bot", "1", whole+" extra=x"), account("bot", "1"), "CA", ""},
		"a token that is there stays":         {secret("bot", "1", "token=old"), account("bot", "1"), "CA", "update Secret t: token secret is not complete; uid=1 ca.crt=CA namespace=a token=old"},
		"a namespace that is there stays":     {secret("bot", "1", "ca.crt=CA namespace=b token=T"), account("bot", "1"), "CA", ""},
		"another root certificate replaces":   {secret("bot", "1", "ca.crt=OLD namespace=a token=T"), account("bot", "1"), "CA", "update Secret t: token secret is not complete; uid=1 " + whole},
		"no root certificate replaces none":   {secret("bot", "1", "ca.crt=OLD namespace=a token=T"), account("bot", "1"), "", ""},
		"no account":                          {secret("bot", "", ""), nil, "CA", "delete Secret t: service account bot is gone"},
		"the account was made anew":           {secret("bot", "1", whole), account("bot", "2"), "CA", "delete Secret t: service account bot is gone"},
		"one that ends, its account is gone":  {leaving, nil, "CA", ""},
		"one that ends is not filled":         {leaving, account("bot", "1"), "CA", ""},
		"a full one without uid gets the uid": {secret("bot", "", whole), account("bot", "1"), "CA", "update Secret t: token secret is not complete; uid=1 " + whole},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := tt.secret.DeepCopy()
			v := View{Secret: tt.secret, Account: tt.account, Name: "t", CA: []byte(tt.ca), Token: "T"}
			if got := show(Decide(v)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if before.String() != tt.secret.String() {
				t.Error("the shared object was written to")
			}
		})
	}
	for what, tt := range map[string]struct {
		v    View
		want string
	}{
		"an account forgets a Secret that is gone": {View{Name: "t", Listing: account("bot", "1", "s", "t")}, "update ServiceAccount bot: secret t is gone; lists [{  s    }]"},
		"a Secret that is gone and not listed":     {View{Name: "t"}, ""},
		"what is not known is asked again":         {View{Secret: secret("bot", "", ""), Name: "t", Fault: errors.New("no answer")}, "again in 10s"},
	} {
		if got := show(Decide(tt.v)); got != tt.want {
			t.Errorf("%s: got %q, want %q", what, got, tt.want)
		}
	}
}

// TestOdd mutates what users may write: no object stops the controller.
func TestOdd(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		Decide(View{Secret: world.Odd(r, secret("bot", "", "")), Account: world.Odd(r, account("bot", "1")), Listing: world.Odd(r, account("bot", "1", "t")), Token: "T"})
		Decide(View{Name: "t", Listing: world.Odd(r, account("bot", "1", "t"))})
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world.New(time.Now)
		issued, broken := 0, true
		issue := func(a *corev1.ServiceAccount, secret string) (string, error) {
			if broken {
				return "", errors.New("no key")
			}
			issued++
			return fmt.Sprintf("%s/%s/%s", a.Name, a.UID, secret), nil
		}
		authority, err := pki.NewAuthority("test")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- Run(t.Context(), w.Env(), &authority.Trust, issue) }()
		t.Cleanup(func() { <-done })
		wait := func() *corev1.Secret {
			time.Sleep(15 * time.Second)
			synctest.Wait()
			return world.Get(w, client.Secrets, "a", "t")
		}
		first := world.Put(w, client.ServiceAccounts, account("bot", ""))
		world.Put(w, client.Secrets, secret("bot", "", ""))
		other := secret("nobody", "", "")
		other.Name, other.Type = "other", corev1.SecretTypeOpaque
		world.Put(w, client.Secrets, other)
		if s := wait(); len(s.Data) != 0 {
			t.Errorf("without a key: %v", s.Data)
		}
		broken = false
		s := wait()
		if want := "bot/" + string(first.UID) + "/t"; string(s.Data["token"]) != want || string(s.Data["ca.crt"]) != string(authority.PEM()) || string(s.Data["namespace"]) != "a" ||
			s.Annotations[corev1.ServiceAccountUIDKey] != string(first.UID) {
			t.Errorf("filled: %q and %v, want token %s", s.Data, s.Annotations, want)
		}
		next, err := authority.Begin()
		if err == nil {
			err = authority.Adopt(next)
		}
		if s := wait(); err != nil || string(s.Data["ca.crt"]) != string(authority.PEM()) || string(s.Data["ca.crt"]) == string(next.Old) {
			t.Errorf("after another authority is trusted beside: %q, %v", s.Data["ca.crt"], err)
		}
		world.Change(w, client.Secrets, "a", "t", func(s *corev1.Secret) { delete(s.Data, "token") })
		if s := wait(); len(s.Data["token"]) == 0 || issued != 2 {
			t.Errorf("after the token was taken out: %q, %d issued", s.Data, issued)
		}
		if wait(); w.Writes() != 3 {
			t.Errorf("%d writes, want 3", w.Writes())
		}
		world.Change(w, client.ServiceAccounts, "a", "bot", func(a *corev1.ServiceAccount) { a.Secrets = []corev1.ObjectReference{{Name: "t"}} })
		w.Remove(client.Secrets.Resource, "a", "t")
		if wait(); len(world.Get(w, client.ServiceAccounts, "a", "bot").Secrets) != 0 {
			t.Error("the account still lists a Secret that is gone")
		}
		world.Put(w, client.Secrets, secret("bot", "", ""))
		if s := wait(); len(s.Data["token"]) == 0 {
			t.Error("the Secret made anew is not filled")
		}
		w.Remove(client.ServiceAccounts.Resource, "a", "bot")
		if s := wait(); s != nil {
			t.Error("the account is gone, its token is not")
		}
		world.Put(w, client.Secrets, secret("never", "", ""))
		if s := wait(); s != nil {
			t.Error("the token of an account that never was is there")
		}
		if world.Get(w, client.Secrets, "a", "other") == nil {
			t.Error("a Secret of another type was deleted")
		}
	})
}
