// Package apps holds the records of the group apps: the workloads whose pods run for ever.
package apps

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/api/equal"
)

// All lists the resources of the group.
var All = []*api.Info{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet}

const group, version = "apps", "v1"

var all = []string{"all"}

func same(a, b any) bool { return equal.Semantic(a, b) }

func ratio(have, want int32) string { return fmt.Sprintf("%d/%d", have, want) }

func count(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// isZero tells whether a count or percentage is none at all.
func isZero(v *intstr.IntOrString) bool {
	return v == nil || v.Type == intstr.Int && v.IntVal == 0 || v.Type == intstr.String && none(*v)
}

// none tells of a percentage that is zero or cannot be read, which counts as zero.
func none(v intstr.IntOrString) bool {
	n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%"))
	return err != nil || n <= 0
}

// collisions checks the count of hashes that were taken.
func collisions(n *int32) field.ErrorList { return optional("collisionCount", n) }

func optional(name string, n *int32) field.ErrorList {
	if n == nil {
		return nil
	}
	return counts(field.NewPath("status"), named{name, int64(*n)})
}

// counts checks that none of the named status numbers is negative.
func counts(path *field.Path, list ...named) (errs field.ErrorList) {
	for _, n := range list {
		errs = append(errs, apivalidation.ValidateNonnegativeField(n.n, path.Child(n.name))...)
	}
	return errs
}

type named struct {
	name string
	n    int64
}

func atMost(path *field.Path, n, most int32, name string) field.ErrorList {
	if n > most {
		return field.ErrorList{field.Invalid(path, n, "cannot be greater than "+name)}
	}
	return nil
}

// warnings are about a workload's template, and about its name when it is new.
func warnings[T interface {
	comparable
	GetName() string
}](o, old T, spec *corev1.PodSpec) []string {
	list := core.Warnings(spec, field.NewPath("spec", "template", "spec"))
	var none T
	if old == none {
		list = append(core.NameWarning(o.GetName(), core.UsedInNames), list...)
	}
	return list
}
