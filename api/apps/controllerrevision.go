package apps

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// ControllerRevision is one past or present template of a DaemonSet or StatefulSet; its data never changes.
var ControllerRevision = api.Define(api.Resource[*appsv1.ControllerRevision]{
	Group: group, Version: version, Plural: "controllerrevisions", Scope: api.Namespaced,
	Validate: func(c, old *appsv1.ControllerRevision) (errs field.ErrorList) {
		if old == nil && len(c.Data.Raw) == 0 && c.Data.Object == nil {
			errs = append(errs, field.Required(field.NewPath("data"), "data is mandatory"))
		}
		errs = append(errs, core.NonNegative(c.Revision, field.NewPath("revision"))...)
		if old != nil {
			errs = append(errs, core.Immutable(c.Data, old.Data, field.NewPath("data"))...)
		}
		return errs
	},
	Columns: []api.Column[*appsv1.ControllerRevision]{
		{Name: "Controller", Help: "Controller of the object", Show: func(c *appsv1.ControllerRevision) any {
			owner := metav1.GetControllerOf(c)
			if owner == nil {
				return "<none>"
			}
			kind := schema.FromAPIVersionAndKind(owner.APIVersion, strings.ToLower(owner.Kind)).GroupKind()
			return kind.String() + "/" + owner.Name
		}},
		{Name: "Revision", Type: "string", Help: appsv1.ControllerRevision{}.SwaggerDoc()["revision"], Show: func(c *appsv1.ControllerRevision) any { return c.Revision }},
	},
})
