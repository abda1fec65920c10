package apiserver

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/net/websocket"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A kubelet's refusal in plain text becomes a Status whose message a user can act upon.
func TestLogError(t *testing.T) {
	for name, c := range map[string]struct {
		code    int
		reason  metav1.StatusReason
		message string
	}{
		"the container has no log yet": {400, metav1.StatusReasonBadRequest, "it waits"},
		"the runtime fails":            {500, metav1.StatusReasonInternalError, "Internal error occurred: it waits"},
		"the pod has gone":             {404, metav1.StatusReasonNotFound, "the server could not find the requested resource ( pods/log a)"},
	} {
		err := logError(&http.Response{StatusCode: c.code, Body: io.NopCloser(strings.NewReader("it waits\n"))}, "a")
		known, ok := err.(apierrors.APIStatus)
		if !ok {
			t.Fatalf("%s: %v is no Status", name, err)
		}
		got := known.Status()
		if int(got.Code) != c.code || got.Reason != c.reason || got.Message != c.message {
			t.Errorf("%s: %d %s %q, want %d %s %q", name, got.Code, got.Reason, got.Message, c.code, c.reason, c.message)
		}
	}
}

// answer is a transport with one answer, whose body comes together with its end.
type answer string

func (a answer) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(iotest.DataErrReader(strings.NewReader(string(a))))}, nil
}

func TestLogToSocket(t *testing.T) {
	s := &Server{Kubelet: &Tunnel{Kubelet: answer("one line\n")}}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.logToSocket(&statusWriter{ResponseWriter: w}, r, &url.URL{Scheme: "https", Host: "node"}, "pod"); err != nil {
			t.Error(err)
		}
	}))
	defer web.Close()
	c, err := websocket.NewConfig(strings.Replace(web.URL, "http", "ws", 1), web.URL)
	if err != nil {
		t.Fatal(err)
	}
	c.Protocol = []string{"binary.k8s.io"}
	conn, err := websocket.DialConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "one line\n" {
		t.Errorf("got %q, %v", got, err)
	}
}
