package crd

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/equal"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/watch"
)

// life keeps the definitions' status. Every server does; whoever is first is.
type life struct {
	*Resources
	queue *controller.Queue

	naming sync.Mutex // above all decisions about names

	mu     sync.Mutex
	claims map[string]map[string]claim // by group and definition
}

func newLife(r *Resources) *life {
	return &life{Resources: r, queue: controller.NewQueue(), claims: map[string]map[string]claim{}}
}

// take takes in newer items of definitions (nil: gone), and queues whom they concern: themselves, and others that wait for names.
func (l *life) take(next map[string]*watch.Item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, item := range next { // all, before any is looked at
		var now *claim
		if item != nil {
			crd, err := outline(item)
			if err != nil {
				continue
			}
			now = claimOf(crd)
			if d := l.find(name); d != nil && sameNames(d.accepts, now.names) {
				now.names = d.accepts // once in memory
			}
		}
		l.note(name, now)
	}
	for name := range next {
		l.queue.Add(name)
	}
}

// note takes in what a definition has accepted (nil: it is gone). mu is held.
func (l *life) note(name string, now *claim) {
	_, group, _ := strings.Cut(name, ".") // a definition is called by its plural, which has no dot, and its group
	of := l.claims[group]
	none := &apiextensionsv1.CustomResourceDefinitionNames{}
	before := cmp.Or(of[name].names, none)
	switch {
	case now == nil:
		if delete(of, name); len(of) == 0 {
			delete(l.claims, group)
		}
		now = &claim{names: none}
	case of == nil:
		l.claims[group] = map[string]claim{name: *now}
	default:
		of[name] = *now
	}
	if !sameNames(before, now.names) {
		for other, c := range of {
			if c.waits && other != name {
				l.queue.Add(other)
			}
		}
	}
}

// taken are the names of the others of a definition's group that it wants.
func (l *life) taken(crd *apiextensionsv1.CustomResourceDefinition) taken {
	_, group, _ := strings.Cut(crd.Name, ".")
	l.mu.Lock()
	defer l.mu.Unlock()
	return takenBut(l.claims[group], crd.Name, &crd.Spec.Names)
}

// workers is how many definitions are looked at at a time.
const workers = 4

func (l *life) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error {
			for name := range l.queue.All(ctx) {
				err := l.look(ctx, name)
				if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
					err = nil // the change that was missed brings it back
				}
				if err != nil && ctx.Err() == nil {
					l.Log.Warn("definition not looked after", "object", name, "err", err)
				}
				l.queue.Done(name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// look brings one definition's status up to date, or ends it.
func (l *life) look(ctx context.Context, name string) error {
	item := l.State.Get(l.State.Info(api.DefinitionsKey), "", name)
	if item == nil {
		return nil
	}
	crd, err := outline(item)
	if err != nil {
		return err
	}
	if crd.DeletionTimestamp == nil && !mayBeShapeless(crd) && l.said(crd) {
		return nil // which is what most of them come to
	}
	if crd, err = read(item); err != nil {
		return err
	}
	if done, err := l.say(ctx, crd); !done || err != nil {
		return err
	}
	if crd.DeletionTimestamp != nil {
		return l.cleanUp(ctx, crd)
	}
	return nil
}

// said tells whether a definition's status is what it should be.
func (l *life) said(crd *apiextensionsv1.CustomResourceDefinition) bool {
	next := status(crd, l.taken(crd), l.now())
	return equal.Semantic(&next, &crd.Status)
}

// say writes a definition's status where it is not what it should be, and tells whether it is.
func (l *life) say(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) (done bool, err error) {
	l.naming.Lock() // of two that want one name, one is first
	defer l.naming.Unlock()
	next := *crd
	next.Status = status(crd, l.taken(crd), l.now())
	if equal.Semantic(&next.Status, &crd.Status) {
		return true, nil
	}
	got, err := kind.UpdateStatus(ctx, l.Client, &next)
	if err == nil {
		l.mu.Lock()
		l.note(crd.Name, claimOf(got))
		l.mu.Unlock()
	}
	return false, err
}

// status is what a definition's status is to say: pure. Conditions keep their time while their status stays.
// Source: apiextensions/v1, CustomResourceDefinitionConditionType.
func status(crd *apiextensionsv1.CustomResourceDefinition, t taken, now metav1.Time) apiextensionsv1.CustomResourceDefinitionStatus {
	next := &apiextensionsv1.CustomResourceDefinition{Spec: crd.Spec, Status: *crd.Status.DeepCopy()}
	say := func(kind apiextensionsv1.CustomResourceDefinitionConditionType, is bool, reason, message string) {
		c := apiextensionsv1.CustomResourceDefinitionCondition{Type: kind, Status: apiextensionsv1.ConditionFalse, LastTransitionTime: now, Reason: reason, Message: message}
		if is {
			c.Status = apiextensionsv1.ConditionTrue
		}
		put(next, c)
	}
	names, reason, message := accept(crd.Spec.Names, crd.Status.AcceptedNames, t)
	next.Status.AcceptedNames = names
	if reason == "" {
		say(apiextensionsv1.NamesAccepted, true, "NoConflicts", "no conflicts found")
	} else {
		say(apiextensionsv1.NamesAccepted, false, reason, message)
	}
	switch {
	case apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established): // until it goes
	case reason == "":
		say(apiextensionsv1.Established, true, "InitialNamesAccepted", "the initial names have been accepted")
	default:
		say(apiextensionsv1.Established, false, "NotAccepted", "not all names are accepted")
	}
	if apihelpers.IsProtectedCommunityGroup(crd.Spec.Group) {
		approval(crd, say)
	} else {
		apihelpers.RemoveCRDCondition(next, apiextensionsv1.KubernetesAPIApprovalPolicyConformant)
	}
	if problems := shapeless(crd); problems != "" {
		say(apiextensionsv1.NonStructuralSchema, true, "Violations", problems)
	} else {
		apihelpers.RemoveCRDCondition(next, apiextensionsv1.NonStructuralSchema)
	}
	return next.Status
}

// put sets a condition and tells whether it changed; its time stays while its status does.
func put(crd *apiextensionsv1.CustomResourceDefinition, c apiextensionsv1.CustomResourceDefinitionCondition) bool {
	was := apihelpers.FindCRDCondition(crd, c.Type)
	switch {
	case was == nil:
		crd.Status.Conditions = append(crd.Status.Conditions, c)
		return true
	case apihelpers.IsCRDConditionEquivalent(was, &c):
		return false
	case was.Status == c.Status:
		c.LastTransitionTime = was.LastTransitionTime
	}
	*was = c
	return true
}

// approval is what is said of groups that belong to the community.
func approval(crd *apiextensionsv1.CustomResourceDefinition, say func(apiextensionsv1.CustomResourceDefinitionConditionType, bool, string, string)) {
	state, message := apihelpers.GetAPIApprovalState(crd.Annotations)
	reasons := map[apihelpers.APIApprovalState]string{apihelpers.APIApprovalInvalid: "InvalidAnnotation", apihelpers.APIApprovalMissing: "MissingAnnotation",
		apihelpers.APIApproved: "ApprovedAnnotation", apihelpers.APIApprovalBypassed: "UnapprovedAnnotation"}
	say(apiextensionsv1.KubernetesAPIApprovalPolicyConformant, state == apihelpers.APIApproved, reasons[state], message)
}

// mayBeShapeless: of others nothing can be not structural; they were valid when they were made, and each change of them since.
func mayBeShapeless(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return crd.Spec.PreserveUnknownFields || apihelpers.FindCRDCondition(crd, apiextensionsv1.NonStructuralSchema) != nil
}

// shapeless says what is not structural about a definition's schemas, such as older servers took; "": nothing.
func shapeless(crd *apiextensionsv1.CustomResourceDefinition) string {
	if !mayBeShapeless(crd) {
		return ""
	}
	var errs field.ErrorList
	for n, v := range crd.Spec.Versions {
		in := schemaOf(crd, v.Name)
		if in == nil {
			continue
		}
		path := field.NewPath("spec", "versions").Index(n).Child("schema", "openAPIV3Schema")
		props := &apiextensions.JSONSchemaProps{}
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(in.DeepCopy(), props, nil); err != nil {
			errs = append(errs, field.Invalid(path, "", err.Error()))
			continue
		}
		s, err := structural.NewStructural(props)
		if err != nil {
			errs = append(errs, field.Invalid(path, "", err.Error()))
			continue
		}
		errs = append(errs, structural.ValidateStructural(path, s)...)
	}
	if crd.Spec.PreserveUnknownFields {
		errs = append(errs, field.Invalid(field.NewPath("spec", "preserveUnknownFields"), true, "must be false"))
	}
	if len(errs) == 0 {
		return ""
	}
	slices.SortFunc(errs, func(a, b *field.Error) int {
		if a.Error() < b.Error() {
			return -1
		}
		return 1
	})
	return errs.ToAggregate().Error()
}
