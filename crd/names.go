package crd

import (
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// taken are the names that other definitions of a group have accepted. What clients call resources by (plural, singular and
// short names) is one set, kinds and list kinds another.
type taken struct{ resources, kinds map[string]bool }

// claim is what one definition has accepted.
type claim struct {
	names *apiextensionsv1.CustomResourceDefinitionNames // shared
	waits bool                                           // it wants names that it does not have
}

func claimOf(crd *apiextensionsv1.CustomResourceDefinition) *claim {
	return &claim{crd.Status.AcceptedNames.DeepCopy(), apihelpers.IsCRDConditionFalse(crd, apiextensionsv1.NamesAccepted)}
}

// takenBut gathers the names of a group's definitions but one, as far as that one wants them.
func takenBut(group map[string]claim, but string, want *apiextensionsv1.CustomResourceDefinitionNames) taken {
	t := taken{map[string]bool{want.Plural: false, want.Singular: false}, map[string]bool{want.Kind: false, want.ListKind: false}}
	for _, s := range want.ShortNames {
		t.resources[s] = false
	}
	take := func(in map[string]bool, name string) {
		if _, wanted := in[name]; wanted && name != "" {
			in[name] = true
		}
	}
	for name, c := range group {
		if name == but {
			continue
		}
		take(t.resources, c.names.Plural)
		take(t.resources, c.names.Singular)
		for _, s := range c.names.ShortNames {
			take(t.resources, s)
		}
		take(t.kinds, c.names.Kind)
		take(t.kinds, c.names.ListKind)
	}
	return t
}

// accept tells which names a definition has from now on: those that it asks for where they are free, else those that it
// had; and, for the last one that is not free, why. Source: apiextensions/v1, NamesAccepted, acceptedNames.
func accept(want, had apiextensionsv1.CustomResourceDefinitionNames, t taken) (got apiextensionsv1.CustomResourceDefinitionNames, reason, message string) {
	got = had
	refuse := func(why, what string) { reason, message = why, fmt.Sprintf("%s is already in use", what) }
	one := func(in map[string]bool, why, want, had string) string {
		if in[want] {
			refuse(why, fmt.Sprintf("%q", want))
			return had
		}
		return want
	}
	got.Plural = one(t.resources, "PluralConflict", want.Plural, had.Plural)
	got.Singular = one(t.resources, "SingularConflict", want.Singular, had.Singular)
	var conflicts []string
	for _, s := range want.ShortNames {
		if t.resources[s] {
			conflicts = append(conflicts, s)
		}
	}
	if len(conflicts) > 0 {
		refuse("ShortNamesConflict", fmt.Sprintf("%q", conflicts))
	} else {
		got.ShortNames = slices.Clone(want.ShortNames)
	}
	got.Kind = one(t.kinds, "KindConflict", want.Kind, had.Kind)
	got.ListKind = one(t.kinds, "ListKindConflict", want.ListKind, had.ListKind)
	got.Categories = slices.Clone(want.Categories)
	return got, reason, message
}
