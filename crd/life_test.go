package crd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type names = apiextensionsv1.CustomResourceDefinitionNames

func TestAccept(t *testing.T) {
	boats := names{Plural: "boats", Singular: "boat", Kind: "Boat", ListKind: "BoatList", ShortNames: []string{"bt"}, Categories: []string{"all"}}
	tests := map[string]struct {
		had    names
		others []names
		want   string
	}{
		"all are free": {want: "boats boat [bt] Boat BoatList [all]"},
		"another's plural is ours": {others: []names{{Plural: "boats", Kind: "X"}},
			want: ` boat [bt] Boat BoatList [all]; PluralConflict: "boats" is already in use`},
		"a short name of another is our singular": {others: []names{{Plural: "x", ShortNames: []string{"boat"}}},
			want: `boats  [bt] Boat BoatList [all]; SingularConflict: "boat" is already in use`},
		"short names are taken all or not at all": {had: names{ShortNames: []string{"b"}}, others: []names{{Plural: "x", ShortNames: []string{"bt"}}},
			want: `boats boat [b] Boat BoatList [all]; ShortNamesConflict: ["bt"] is already in use`},
		"another's list kind is our kind": {others: []names{{Plural: "x", ListKind: "Boat"}},
			want: `boats boat [bt]  BoatList [all]; KindConflict: "Boat" is already in use`},
		"kinds are no plurals":          {others: []names{{Plural: "Boat", Kind: "boats"}}, want: "boats boat [bt] Boat BoatList [all]"},
		"our own names are no conflict": {had: boats, want: "boats boat [bt] Boat BoatList [all]"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			group := map[string]claim{"boats.example.com": {names: &tt.had}}
			for n, o := range tt.others {
				group[fmt.Sprint("other", n)] = claim{names: &o}
			}
			n, reason, message := accept(boats, tt.had, takenBut(group, "boats.example.com", &boats))
			got := fmt.Sprint(n.Plural, " ", n.Singular, " ", n.ShortNames, " ", n.Kind, " ", n.ListKind, " ", n.Categories)
			if reason != "" {
				got += "; " + reason + ": " + message
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	then, now := metav1.Unix(1000, 0), metav1.Unix(2000, 0)
	condition := func(kind apiextensionsv1.CustomResourceDefinitionConditionType, is apiextensionsv1.ConditionStatus, reason, message string) apiextensionsv1.CustomResourceDefinitionCondition {
		return apiextensionsv1.CustomResourceDefinitionCondition{Type: kind, Status: is, Reason: reason, Message: message, LastTransitionTime: then}
	}
	established := []apiextensionsv1.CustomResourceDefinitionCondition{
		condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"), condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted")}
	tests := map[string]struct {
		change func(*apiextensionsv1.CustomResourceDefinition)
		taken  string
		want   string
	}{
		"a new one":               {want: "NamesAccepted True NoConflicts 2000, Established True InitialNamesAccepted 2000"},
		"one whose name is taken": {taken: "boats", want: "NamesAccepted False PluralConflict 2000, Established False NotAccepted 2000"},
		"nothing new": {change: func(d *apiextensionsv1.CustomResourceDefinition) { d.Status.Conditions = established },
			want: "NamesAccepted True NoConflicts 1000, Established True InitialNamesAccepted 1000"},
		"established for good": {change: func(d *apiextensionsv1.CustomResourceDefinition) { d.Status.Conditions = established }, taken: "boats",
			want: "NamesAccepted False PluralConflict 2000, Established True InitialNamesAccepted 1000"},
		"a group of the community, not approved": {change: func(d *apiextensionsv1.CustomResourceDefinition) {
			d.Spec.Group = "sea.k8s.io"
			d.Annotations = map[string]string{"api-approved.kubernetes.io": "unapproved, an experiment"}
		}, want: "NamesAccepted True NoConflicts 2000, Established True InitialNamesAccepted 2000, KubernetesAPIApprovalPolicyConformant False UnapprovedAnnotation 2000"},
		"approved": {change: func(d *apiextensionsv1.CustomResourceDefinition) {
			d.Spec.Group = "sea.k8s.io"
			d.Annotations = map[string]string{"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1"}
		}, want: "NamesAccepted True NoConflicts 2000, Established True InitialNamesAccepted 2000, KubernetesAPIApprovalPolicyConformant True ApprovedAnnotation 2000"},
		"a schema that older servers took": {change: func(d *apiextensionsv1.CustomResourceDefinition) { d.Spec.PreserveUnknownFields = true },
			want: "NamesAccepted True NoConflicts 2000, Established True InitialNamesAccepted 2000, NonStructuralSchema True Violations 2000"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "boats.example.com"}, Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: "example.com", Names: names{Plural: "boats", Singular: "boat", Kind: "Boat", ListKind: "BoatList"}}}
			if tt.change != nil {
				tt.change(d)
			}
			before := d.DeepCopy()
			got := status(d, taken{map[string]bool{tt.taken: true}, nil}, now)
			var words []string
			for _, c := range got.Conditions {
				words = append(words, fmt.Sprint(c.Type, " ", c.Status, " ", c.Reason, " ", c.LastTransitionTime.Unix()))
			}
			if s := strings.Join(words, ", "); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
			d.Status = got
			if again := status(d, taken{map[string]bool{tt.taken: true}, nil}, metav1.NewTime(now.Add(time.Hour))); fmt.Sprint(again) != fmt.Sprint(got) {
				t.Errorf("not at rest: %v", again)
			}
			d.Status = before.Status
			if fmt.Sprint(d) != fmt.Sprint(before) {
				t.Error("the definition was written to")
			}
		})
	}
}
