package webhook

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/callout"
)

// mostAnswer bounds what a webhook may answer: a patch is no larger than several objects.
const mostAnswer = 16 << 20

// call sends a review and gives what came back.
func (w *Webhooks) call(ctx context.Context, c *admissionv1.WebhookClientConfig, timeout time.Duration, body []byte) ([]byte, error) {
	name, err := callout.NameOf(c.URL, c.Service, c.CABundle)
	if err != nil {
		return nil, err
	}
	way, err := w.Callout.To(name)
	if err != nil {
		return nil, err
	}
	data, code, err := way.Post(ctx, body, url.Values{"timeout": {timeout.String()}}, "kube-apiserver-admission", mostAnswer)
	if err != nil {
		return nil, err
	}
	if code < 200 || code > 206 {
		text := strings.TrimSpace(string(data[:min(len(data), 2048)]))
		return nil, apierrors.NewGenericServerResponse(code, http.MethodPost, schema.GroupResource{}, "", text, 0, true)
	}
	return data, nil
}
