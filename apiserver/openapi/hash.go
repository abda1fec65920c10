package openapi

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/lighter-k8s/lighter/api"
)

// builtIn is the digest of all documents of what is built in: TestBuiltIn works it out, and says what to write here when they have
// changed. To work it out while serving would mean to make all documents for the list of them.
const builtIn = "e0f96f9f435bfd3de0d98f8fd8f353c5"

// hash tells one version of a document from another without the document: the list of documents has them all, and clients read
// it before each of their commands. What is built in changes with the program; what is custom with the definitions that it is made of.
// infos are what the document describes, none where that is no resource.
func (h *Handler) hash(at string, infos []*api.Info) string {
	text := &strings.Builder{}
	fmt.Fprintln(text, builtIn, h.version, at)
	for _, i := range infos {
		if i.Custom == nil {
			fmt.Fprintln(text, i.Resource)
		} else { // names are accepted, or not, without a new generation
			fmt.Fprintln(text, i.Custom.Definition, i.Custom.Revision, i.Version, i.Kind, i.ListKind, i.Singular, i.HasStatus, i.HasScale)
		}
	}
	return sum([]byte(text.String()))
}

// described are resources by the group version whose document describes them, "/apis/apps/v1".
func described(infos []*api.Info) map[string][]*api.Info {
	out := map[string][]*api.Info{}
	for _, i := range infos {
		at := root(i.Group, i.Version)
		out[at] = append(out[at], i)
	}
	return out
}

func sum(data []byte) string { return fmt.Sprintf("%X", sha256.Sum256(data)) }
