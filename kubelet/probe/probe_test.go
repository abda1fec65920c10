package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// script answers the n-th probe by the n-th letter: "+" is a success, "-" a failure; the last goes on.
type script struct {
	mu      sync.Mutex
	answers string
	asked   []time.Duration
	began   time.Time
}

func (s *script) ExecSync(context.Context, *runtimev1.ExecSyncRequest, ...callOption) (*runtimev1.ExecSyncResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, time.Since(s.began))
	c := s.answers[min(len(s.asked), len(s.answers))-1]
	if c == '!' {
		return nil, errors.New("the runtime is gone")
	}
	return &runtimev1.ExecSyncResponse{ExitCode: int32(strings.IndexByte("+-", c)), Stdout: []byte("told")}, nil
}

func TestThresholds(t *testing.T) {
	exec := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}
	tests := map[string]struct {
		kind    string
		probe   corev1.Probe
		answers string
		want    string // "second:result" at each change
	}{
		"ready at once":               {"readiness", corev1.Probe{PeriodSeconds: 10}, "+", "0:ready"},
		"after its delay":             {"readiness", corev1.Probe{PeriodSeconds: 10, InitialDelaySeconds: 5}, "+", "5:ready"},
		"after two successes":         {"readiness", corev1.Probe{PeriodSeconds: 10, SuccessThreshold: 2}, "+-++", "30:ready"},
		"unready after three":         {"readiness", corev1.Probe{PeriodSeconds: 10, FailureThreshold: 3}, "+--+---+", "0:ready 60:unready 70:ready"},
		"a broken probe is a failure": {"readiness", corev1.Probe{PeriodSeconds: 1}, "+!", "0:ready 1:unready"},
		"alive says nothing":          {"liveness", corev1.Probe{PeriodSeconds: 1, FailureThreshold: 2}, "+-+-+", ""},
		"dead is said once":           {"liveness", corev1.Probe{PeriodSeconds: 1, FailureThreshold: 2}, "+--", "2:liveness"},
		"started":                     {"startup", corev1.Probe{PeriodSeconds: 1, FailureThreshold: 30}, "---+", "3:started"},
		"never started":               {"startup", corev1.Probe{PeriodSeconds: 1, FailureThreshold: 3}, "-", "2:startup"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				c := &corev1.Container{Name: "c"}
				tt.probe.ProbeHandler = exec
				switch tt.kind {
				case "readiness":
					c.ReadinessProbe = &tt.probe
				case "liveness":
					c.LivenessProbe = &tt.probe
				case "startup":
					c.StartupProbe = &tt.probe
				}
				began, got := time.Now(), []string{}
				var p *Probes
				p = New(ctx, &script{answers: tt.answers, began: began}, func(uid types.UID) {
					r, _ := p.Get(uid, "c", "id")
					w := "unready"
					switch {
					case r.Failed != "":
						w = r.Failed
					case tt.kind == "startup" && r.Started:
						w = "started"
					case r.Ready && tt.kind == "readiness":
						w = "ready"
					}
					got = append(got, fmt.Sprintf("%d:%s", time.Since(began)/time.Second, w))
				}, func(*corev1.Pod, string, string) {})
				p.Set(&corev1.Pod{ObjectMeta: v1.ObjectMeta{UID: "u"}}, []Target{{Container: c, ID: "id", StartedAt: began}})
				time.Sleep(100 * time.Second)
				cancel()
				p.Wait()
				if s := strings.Join(got, " "); s != tt.want {
					t.Errorf("got %q, want %q", s, tt.want)
				}
			})
		})
	}
}

func TestOthersWaitForTheStartupProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		h := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}
		c := &corev1.Container{Name: "c", StartupProbe: &corev1.Probe{ProbeHandler: h, PeriodSeconds: 5, FailureThreshold: 30}, LivenessProbe: &corev1.Probe{ProbeHandler: h, PeriodSeconds: 100}}
		s := &script{answers: "--+", began: time.Now()}
		p := New(ctx, s, func(types.UID) {}, func(*corev1.Pod, string, string) {})
		pod := &corev1.Pod{ObjectMeta: v1.ObjectMeta{UID: "u"}}
		p.Set(pod, []Target{{Container: c, ID: "id", StartedAt: time.Now()}})
		time.Sleep(50 * time.Second)
		p.Set(pod, nil)
		cancel()
		p.Wait()
		if got := fmt.Sprint(s.asked); got != "[0s 5s 10s 10s]" {
			t.Errorf("asked at %s", got)
		}
	})
}

func TestHTTP(t *testing.T) {
	var last *http.Request
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last = r
		switch r.URL.Path {
		case "/bad":
			http.Error(w, "no", 500)
		case "/away":
			http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusFound)
		case "/here":
			http.Redirect(w, r, "/bad", http.StatusFound)
		}
	}))
	defer s.Close()
	host, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	for _, tt := range []struct {
		path string
		want string
	}{{"/ok?x=1", ""}, {"ok", ""}, {"/bad", "HTTP probe failed with statuscode: 500"}, {"/away", ""}, {"/here", "HTTP probe failed with statuscode: 500"}} {
		ok, message := get(t.Context(), &corev1.HTTPGetAction{Path: tt.path, Port: intstr.Parse(port), HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "example"}}}, &corev1.Container{}, host)
		if ok != (tt.want == "") || tt.want != "" && message != tt.want {
			t.Errorf("%s: %v, %q", tt.path, ok, message)
		}
		if last.Host != "example" && tt.path != "/here" || last.Header.Get("User-Agent") != "kube-probe/1.37" {
			t.Errorf("%s: host %s, agent %s", tt.path, last.Host, last.Header.Get("User-Agent"))
		}
	}
	if _, message := get(t.Context(), &corev1.HTTPGetAction{Port: intstr.FromString("none")}, &corev1.Container{}, host); message != "invalid port number: none" {
		t.Errorf("unnamed port: %s", message)
	}
}
