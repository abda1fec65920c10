package h2

import (
	"net/http"
	"strings"
)

// usual are the names of fields that requests and answers of an API server have, as net/http spells them.
var usual = []string{"Accept", "Accept-Encoding", "Audit-Id", "Authorization", "Cache-Control", "Content-Encoding", "Content-Length", "Content-Type",
	"Cookie", "Date", "Etag", "Expect", "Host", "If-Modified-Since", "If-None-Match", "Impersonate-Group", "Impersonate-User", "Last-Modified", "Location",
	"Origin", "Referer", "Retry-After", "Server", "Trailer", "User-Agent", "Vary", "Warning", "X-Content-Type-Options", "X-Forwarded-For",
	"X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid", "Kubectl-Command", "Kubectl-Session"}

var canonicals, lowers = func() (up, low map[string]string) {
	up, low = map[string]string{}, map[string]string{}
	for _, name := range usual {
		up[strings.ToLower(name)], low[name] = name, strings.ToLower(name)
	}
	return up, low
}()

// canonical is a name as http.Header has it.
func canonical(name string) string {
	if c, ok := canonicals[name]; ok {
		return c
	}
	return http.CanonicalHeaderKey(name)
}

// lower is a name as HTTP/2 has it.
func lower(name string) string {
	if l, ok := lowers[name]; ok {
		return l
	}
	return strings.ToLower(name)
}
