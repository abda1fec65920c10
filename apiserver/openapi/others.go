package openapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/kube-openapi/pkg/aggregator"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Other is what another server describes of one group version.
type Other struct {
	URL string // of its v3 document; "": it has none
	// V2 is the server's v2 document, of all that it serves, with a tag that changes when it does; nil: it has none.
	V2 func(ctx context.Context) (document []byte, tag string)
}

// mergedV2 is the v2 document with those of others, as it was asked for last.
type mergedV2 struct {
	sync.Mutex
	of  string // the tags of what it was made of
	doc *document
}

// SetOthers makes the documents tell what other servers, by "apis/example.com/v1", serve.
func (h *Handler) SetOthers(others map[string]Other) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.others = others
	delete(h.docs, "v3")
}

// withOthers is the v2 document with what others say of their group versions. What cannot be read of one is left out.
func (h *Handler) withOthers(ctx context.Context, own *document, wantsProto bool) (*document, error) {
	h.mu.Lock()
	others := h.others
	h.mu.Unlock()
	if len(others) == 0 {
		return own, nil
	}
	type part struct {
		at   string
		data []byte
	}
	var parts []part
	of := own.tag
	for _, at := range slices.Sorted(maps.Keys(others)) { // a conflict of names ends the same way every time
		if data, tag := others[at].V2(ctx); data != nil {
			parts, of = append(parts, part{at, data}), of+" "+at+"="+tag
		}
	}
	if len(parts) == 0 {
		return own, nil
	}
	m := &h.merged
	m.Lock()
	defer m.Unlock()
	if m.of != of {
		all := &spec.Swagger{}
		if err := json.Unmarshal(own.json, all); err != nil {
			return nil, fmt.Errorf("read our own description: %w", err)
		}
		for name, d := range all.Definitions { // the kinds that another has for the same definition are put there
			if d.Extensions == nil {
				d.Extensions = spec.Extensions{}
				all.Definitions[name] = d
			}
		}
		for _, p := range parts {
			other := &spec.Swagger{}
			if json.Unmarshal(p.data, other) != nil || other.Paths == nil {
				continue
			}
			other = aggregator.FilterSpecByPathsWithoutSideEffects(other, []string{"/" + strings.TrimSuffix(p.at, "/") + "/"})
			if err := aggregator.MergeSpecsIgnorePathConflictRenamingDefinitionsAndParameters(all, other); err != nil {
				return nil, fmt.Errorf("merge the description of %s: %w", p.at, err)
			}
		}
		data, err := json.Marshal(all)
		if err != nil {
			return nil, err
		}
		m.of, m.doc = of, &document{json: data, tag: fmt.Sprintf("%q", sum(data))}
	}
	if wantsProto && m.doc.proto == nil {
		var err error
		if m.doc.proto, err = toProto("v2", m.doc.json); err != nil {
			return nil, err
		}
	}
	d := *m.doc // it gets its other form under the lock
	return &d, nil
}
