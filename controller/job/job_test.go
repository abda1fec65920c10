package job

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/controller"
	world "github.com/lighter-k8s/lighter/controller/controllertest"
)

var app = map[string]string{"batch.kubernetes.io/job-name": "pi"}

// newJob makes a Job as the API server stores it. With edits such as "completions=3 parallelism=2 indexed".
func newJob(t *testing.T, edits string) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: v1.ObjectMeta{Namespace: "ns", Name: "pi", UID: "job", Generation: 1}}
	job.Spec = batchv1.JobSpec{Parallelism: ptr.To[int32](1), BackoffLimit: ptr.To[int32](6), Selector: &v1.LabelSelector{MatchLabels: app},
		CompletionMode: ptr.To(batchv1.NonIndexedCompletion), PodReplacementPolicy: ptr.To(batchv1.TerminatingOrFailed),
		Template: corev1.PodTemplateSpec{ObjectMeta: v1.ObjectMeta{Labels: app}, Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c"}}}}}
	for _, e := range strings.Fields(edits) {
		name, value, _ := strings.Cut(e, "=")
		n := 0
		fmt.Sscan(value, &n)
		number := ptr.To(int32(n))
		switch name {
		case "completions":
			job.Spec.Completions = number
		case "parallelism":
			job.Spec.Parallelism = number
		case "backoffLimit":
			job.Spec.BackoffLimit = number
		case "perIndex":
			job.Spec.BackoffLimitPerIndex, job.Spec.BackoffLimit = number, ptr.To[int32](1<<30)
		case "maxFailedIndexes":
			job.Spec.MaxFailedIndexes = number
		case "deadline":
			job.Spec.ActiveDeadlineSeconds = ptr.To(int64(n))
		case "indexed":
			job.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
		case "suspend":
			job.Spec.Suspend = ptr.To(true)
		case "onlyFailed":
			job.Spec.PodReplacementPolicy = ptr.To(batchv1.Failed)
		case "onFailure":
			job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		case "managedBy":
			job.Spec.ManagedBy = ptr.To(value)
		case "exit42": // what the podFailurePolicy does about exit code 42
			job.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{Action: batchv1.PodFailurePolicyAction(value),
				OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42}}}}}
		case "success":
			job.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: &value}}}
		default:
			t.Fatalf("no edit %q", name)
		}
	}
	return job
}

// podsOf is controllertest.Pods, with finalizers; a word may have exit42 and counted (no finalizer).
func podsOf(words string, job *batchv1.Job) []*corev1.Pod {
	list := world.Pods(strings.NewReplacer(",exit42", "", ",counted", "").Replace(words), job, kind, app)
	for i, word := range strings.Fields(words) {
		if !strings.Contains(word, "counted") {
			list[i].Finalizers = []string{batchv1.JobTrackingFinalizer}
		}
		if list[i].Status.Phase == corev1.PodFailed {
			code := int32(1)
			if strings.Contains(word, "exit42") {
				code = 42
			}
			list[i].Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: v1.NewTime(world.Start)}}}}
		}
	}
	return list
}

// show writes the actions but the status in words; a created pod with its index.
func show(todo []controller.Action) string {
	var out []string
	for _, a := range todo {
		p, ok := a.Object.(*corev1.Pod)
		switch i, marked := "", false; {
		case a.Requeue > 0:
			out = append(out, "again in "+a.Requeue.String())
		case a.Verb == controller.UpdateStatus:
		case a.Verb == controller.CreateObject && ok:
			if i, marked = p.Annotations[batchv1.JobCompletionIndexAnnotation]; marked {
				i = "#" + i
			}
			out = append(out, "create"+i)
		case a.Verb == controller.PatchObject && ok:
			out = append(out, "untrack "+p.Name)
		case a.Verb == controller.SayEvent:
			out = append(out, a.Event.Reason)
		default:
			out = append(out, string(a.Verb)+" "+a.Object.GetName())
		}
	}
	return strings.Join(out, ", ")
}

func statusOf(todo []controller.Action, job *batchv1.Job) (batchv1.JobStatus, int) {
	for i, a := range todo {
		if a.Verb == controller.UpdateStatus {
			return a.Object.(*batchv1.Job).Status, i
		}
	}
	return job.Status, -1
}

func TestReconcile(t *testing.T) {
	tests := map[string]struct {
		job, pods, want string
		after           time.Duration // since Start, when pods failed and the Job began
		status          batchv1.JobStatus
		end             string // condition that is set, with its reason
	}{
		"one pod by default":                   {job: "completions=1", want: "create"},
		"as many as parallelism allows":        {job: "completions=5 parallelism=3", pods: "a:Running", want: "create, create"},
		"no more than are missing":             {job: "completions=2 parallelism=3", status: batchv1.JobStatus{Succeeded: 1}, want: "create"},
		"what succeeded is counted and let go": {job: "completions=2", pods: "a:Succeeded", want: "untrack a, create"},
		"the last success ends it":             {job: "completions=1", pods: "a:Succeeded", want: "untrack a", end: "SuccessCriteriaMet CompletionsReached"},
		"a failure waits for its replacement":  {job: "completions=1", pods: "a:Failed", after: 3 * time.Second, want: "untrack a, again in 7s"},
		"ten seconds":                          {job: "completions=1", pods: "a:Failed", after: 10 * time.Second, want: "untrack a, create"},
		"two failures wait for twenty":         {job: "completions=1", pods: "a:Failed b:Failed,counted", after: 10 * time.Second, want: "untrack a, again in 10s"},
		"too many failures end it":             {job: "completions=1 backoffLimit=0", pods: "a:Failed b:Running", want: "untrack a, delete b", end: "FailureTarget BackoffLimitExceeded"},
		"as many as the limit do not":          {job: "completions=1 backoffLimit=1", pods: "a:Failed", after: time.Minute, want: "untrack a, create"},
		"a deleted pod is replaced at once":    {job: "completions=1", pods: "a:Running,deleting,@n", after: time.Minute, want: "untrack a, create"},
		"or once it has ended":                 {job: "completions=1 onlyFailed", pods: "a:Running,deleting,@n", after: time.Minute, want: ""},
		"one that never ran never ends":        {job: "completions=1 onlyFailed", pods: "a:Pending,deleting", after: time.Minute, want: "untrack a"},
		"less parallelism: pods go uncounted":  {job: "completions=5 parallelism=1", pods: "a:ready,@n b:Pending,@n", want: "untrack b, delete b"},
		"a work queue ends with a success":     {job: "parallelism=3", pods: "a:Succeeded b:Running", want: "untrack a"},
		"when all others have ended":           {job: "parallelism=3", pods: "a:Succeeded b:Succeeded", want: "untrack a, untrack b", end: "SuccessCriteriaMet CompletionsReached"},
		"late":                                 {job: "completions=1 deadline=30", pods: "a:Running", after: 30 * time.Second, want: "delete a", end: "FailureTarget DeadlineExceeded"},
		"not yet late":                         {job: "completions=1 deadline=30", pods: "a:Running", after: 20 * time.Second, want: "again in 10s"},
		"suspended":                            {job: "completions=2 parallelism=2 suspend", pods: "a:Running,@n", want: "Suspended, untrack a, delete a"},
		"somebody else's":                      {job: "completions=1 managedBy=example.com/other", pods: "a:Succeeded", want: ""},
		"each index has a pod":                 {job: "completions=5 parallelism=3 indexed", pods: "a:Running,#1", want: "create#0, create#2"},
		"but those that are done":              {job: "completions=5 parallelism=3 indexed", status: batchv1.JobStatus{CompletedIndexes: "0,2-3"}, want: "create#1, create#4"},
		"of two with an index one goes":        {job: "completions=2 parallelism=2 indexed", pods: "a:Pending,#0,@n b:Running,#0,@n", want: "untrack a, delete a"},
		"an index is counted once":             {job: "completions=2 indexed", pods: "a:Succeeded,#0 b:Succeeded,#0", want: "untrack a, untrack b, create#1"},
		"an index fails for good":              {job: "completions=2 indexed perIndex=0", pods: "a:Failed,#0", want: "untrack a, create#1"},
		"or is tried again":                    {job: "completions=2 indexed perIndex=1", pods: "a:Failed,#0", after: time.Minute, want: "create#0"},
		"later, others go on":                  {job: "completions=2 indexed perIndex=1", pods: "a:Failed,#0", want: "create#1, again in 10s"},
		"all indexes done, some failed":        {job: "completions=2 indexed perIndex=0", pods: "a:Failed,#0 b:Succeeded,#1", want: "untrack b, untrack a", end: "FailureTarget FailedIndexes"},
		"too many failed indexes":              {job: "completions=9 indexed perIndex=0 maxFailedIndexes=0", pods: "a:Failed,#0", want: "untrack a", end: "FailureTarget MaxFailedIndexesExceeded"},
		"exit code that ends it":               {job: "completions=9 exit42=FailJob", pods: "a:Failed,exit42 b:Running", want: "untrack a, delete b", end: "FailureTarget PodFailurePolicy"},
		"exit code that does not count":        {job: "completions=1 backoffLimit=0 exit42=Ignore", pods: "a:Failed,exit42", after: time.Minute, want: "untrack a, create"},
		"exit code that ends the index":        {job: "completions=2 indexed perIndex=5 exit42=FailIndex", pods: "a:Failed,#0,exit42", want: "untrack a, create#1"},
		"enough indexes succeeded":             {job: "completions=9 parallelism=2 indexed success=0-1", pods: "a:Succeeded,#0 b:Succeeded,#1 c:Running,#2", want: "untrack a, untrack b, delete c", end: "SuccessCriteriaMet SuccessPolicy"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			job := newJob(t, tt.job)
			job.Status = tt.status
			job.Status.StartTime = &v1.Time{Time: world.Start}
			todo := reconcile(View{Job: job, Pods: podsOf(tt.pods, job), Now: world.Start.Add(tt.after)})
			if got := show(todo); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			st, at := statusOf(todo, job)
			end := ""
			for _, c := range st.Conditions {
				if c.Type != batchv1.JobSuspended {
					end += string(c.Type) + " " + c.Reason
				}
			}
			if end != tt.end {
				t.Errorf("conditions %q, want %q", end, tt.end)
			}
			for i, a := range todo {
				if a.Verb == controller.PatchObject && i < at {
					t.Error("a pod is let go before the status knows of it")
				}
			}
		})
	}
}

func TestEnds(t *testing.T) {
	end := func(kind batchv1.JobConditionType) batchv1.JobStatus {
		return batchv1.JobStatus{StartTime: &v1.Time{Time: world.Start}, UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{},
			Conditions: []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, Reason: "R", Message: "m", LastTransitionTime: v1.NewTime(world.Start)}}}
	}
	tests := map[string]struct {
		job, pods string
		status    batchv1.JobStatus
		want      string
		last      string // last condition's type and reason
	}{
		"pods are waited for":  {"completions=1", "a:Running,deleting,counted", end(batchv1.JobSuccessCriteriaMet), "", "SuccessCriteriaMet R"},
		"complete":             {"completions=1", "a:Succeeded,counted", end(batchv1.JobSuccessCriteriaMet), "Completed", "Complete R"},
		"failed":               {"completions=1", "", end(batchv1.JobFailureTarget), "R", "Failed R"},
		"finished is finished": {"completions=1", "a:Failed", end(batchv1.JobComplete), "", "Complete R"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			job := newJob(t, tt.job)
			job.Status = tt.status
			todo := reconcile(View{Job: job, Pods: podsOf(tt.pods, job), Now: world.Start.Add(time.Minute)})
			st, _ := statusOf(todo, job)
			c := st.Conditions[len(st.Conditions)-1]
			if got := show(todo); got != tt.want || string(c.Type)+" "+c.Reason != tt.last {
				t.Errorf("got %q, %s %s; want %q, %s", got, c.Type, c.Reason, tt.want, tt.last)
			}
			if (st.CompletionTime != nil) != (tt.last == "Complete R" && tt.want != "") {
				t.Errorf("completionTime %v", st.CompletionTime)
			}
		})
	}
}

func TestIndexedPod(t *testing.T) {
	job := newJob(t, "completions=3 indexed")
	job.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "i", Env: []corev1.EnvVar{{Name: envIndex, Value: "mine"}}}}
	p := newPod(job, 2)
	if p.GenerateName != "pi-2-" || p.Spec.Hostname != "pi-2" || p.Labels[batchv1.JobCompletionIndexAnnotation] != "2" ||
		p.Spec.Containers[0].Env[0].ValueFrom.FieldRef.FieldPath != "metadata.labels['batch.kubernetes.io/job-completion-index']" ||
		len(p.Spec.InitContainers[0].Env) != 1 || !tracked(p) {
		t.Errorf("pod %+v", p)
	}
	if len(job.Spec.Template.Spec.Containers[0].Env) != 0 {
		t.Error("the template was written to")
	}
}

func TestIndexes(t *testing.T) {
	for text, want := range map[string]string{"": "", "1,3-5,7": "1,3-5,7", "7,1-2,2-3": "1-3,7", "0-1": "0,1", "5-99": "5-9", "x,4,3-1,-2": "4"} {
		if got := parse(text, 10).String(); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	all := func(int) bool { return true }
	if got := fmt.Sprint(missing(8, 3, all, parse("0-1,4", 8), parse("3", 8))); got != "[2 5 6]" {
		t.Errorf("missing %s", got)
	}
	if s := parse("0-2000000000", 1<<31-1); s.len() != 2000000001 || !s.has(1e9) || s.with(2000000002).has(2000000001) {
		t.Errorf("a big set: %v", s)
	}
}
