package openapi

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/lighter-k8s/lighter/api"
)

// hash tells one version of a group version's document from another without the document: the list of documents has them all,
// and clients read it before each of their commands. What is built in hashes as what is said of it, which is found out once;
// what is custom as the definitions that it is made of. infos are what the document describes. mu is held.
func (h *Handler) hash(at string, infos []*api.Info) (string, error) {
	own := slices.DeleteFunc(slices.Clone(infos), func(i *api.Info) bool { return i.Custom != nil })
	if len(own) == len(infos) {
		return h.ownHash(at, own)
	}
	// How definitions are described changes with the program: so does what it says of the type of definitions.
	const definitions = "/apis/apiextensions.k8s.io/v1"
	program, err := h.ownHash(definitions, described(h.infos)[definitions])
	if err != nil {
		return "", err
	}
	text := &strings.Builder{}
	fmt.Fprintln(text, program, h.version)
	if len(own) > 0 {
		builtin, err := h.ownHash(at, own)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(text, builtin)
	}
	for _, i := range infos {
		if i.Custom != nil { // names are accepted, or not, without a new generation
			fmt.Fprintln(text, i.Custom.Definition, i.Custom.Revision, i.Version, i.Kind, i.ListKind, i.Singular, i.HasStatus, i.HasScale)
		}
	}
	return sum([]byte(text.String())), nil
}

// ownHash is the hash of the document of a group version's built-in resources.
func (h *Handler) ownHash(at string, infos []*api.Info) (string, error) {
	if known := h.hashes[at]; known != "" {
		return known, nil
	}
	data, err := json.Marshal(h.v3(infos))
	if err != nil {
		return "", err
	}
	h.hashes[at] = sum(data)
	return h.hashes[at], nil
}

// fixedHash is the hash of a document that describes no resource.
func (h *Handler) fixedHash(at string, p path) (string, error) {
	if known := h.hashes["/"+at]; known != "" {
		return known, nil
	}
	data, err := json.Marshal(h.of3([]path{p}))
	if err != nil {
		return "", err
	}
	h.hashes["/"+at] = sum(data)
	return h.hashes["/"+at], nil
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
