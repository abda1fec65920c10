package crd

import (
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"
)

// taken are the names that other definitions of a group have accepted. What clients call resources by (plural, singular and
// short names) is one set, kinds and list kinds another.
type taken struct{ resources, kinds map[string]bool }

// claim is what one definition has accepted.
type claim struct {
	uid   types.UID
	names apiextensionsv1.CustomResourceDefinitionNames
	waits bool // it wants names that it does not have
}

func claimOf(crd *apiextensionsv1.CustomResourceDefinition) *claim {
	return &claim{crd.UID, *crd.Status.AcceptedNames.DeepCopy(), apihelpers.IsCRDConditionFalse(crd, apiextensionsv1.NamesAccepted)}
}

// takenBut gathers the names of a group's definitions but one.
func takenBut(group map[string]claim, but string) taken {
	t := taken{map[string]bool{}, map[string]bool{}}
	for name, c := range group {
		if name == but {
			continue
		}
		t.resources[c.names.Plural], t.resources[c.names.Singular] = true, true
		for _, s := range c.names.ShortNames {
			t.resources[s] = true
		}
		t.kinds[c.names.Kind], t.kinds[c.names.ListKind] = true, true
	}
	delete(t.resources, "")
	delete(t.kinds, "")
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
