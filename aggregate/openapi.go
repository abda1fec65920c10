package aggregate

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// V3 is the OpenAPI v3 document of the backend's group version, as it is now. Errors: it has none, or does not answer.
func (b *Backend) V3(ctx context.Context) (document json.RawMessage, err error) {
	at := b.OpenAPI()
	if at == "" || !b.Available() {
		return nil, errNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, openAPITime)
	defer cancel()
	_, err = b.get(ctx, at, "application/json", &document)
	return document, err
}

const (
	mostOpenAPI = 64 << 20
	openAPITime = 5 * time.Second
)

// V2 is the OpenAPI v2 document of the backend, with a tag that changes when it does; nil when it has none. It is asked for at
// each call, but sent when it is another only. One that does not answer keeps the document that it had.
func (b *Backend) V2(ctx context.Context) (document []byte, tag string) {
	b.v2.Lock()
	defer b.v2.Unlock()
	if b.broken != nil || !b.Available() {
		return b.v2.document, b.v2.tag
	}
	ctx, cancel := context.WithTimeout(ctx, openAPITime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url("/openapi/v2"), nil)
	if err != nil {
		return b.v2.document, b.v2.tag
	}
	r.Header.Set("Accept", "application/json")
	if b.v2.tag != "" {
		r.Header.Set("If-None-Match", b.v2.tag)
	}
	identify(r.Header, authenticationv1.UserInfo{Username: "system:kube-aggregator", Groups: []string{"system:masters"}})
	res, err := b.transport.RoundTrip(r)
	if err != nil {
		return b.v2.document, b.v2.tag
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
		data, err := io.ReadAll(io.LimitReader(res.Body, mostOpenAPI))
		if err == nil {
			b.v2.document, b.v2.tag = data, res.Header.Get("ETag")
		}
	case http.StatusNotFound:
		b.v2.document, b.v2.tag = nil, ""
	}
	if b.v2.document != nil && b.v2.tag == "" { // it has none of its own
		return b.v2.document, fmt.Sprintf("%x", sha256.Sum256(b.v2.document))
	}
	return b.v2.document, b.v2.tag
}
