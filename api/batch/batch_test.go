package batch

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/apitest"
)

const template = `
  template:
    metadata: {labels: {app: web}}
    spec:
      restartPolicy: Never
      dnsPolicy: ClusterFirst
      schedulerName: default-scheduler
      securityContext: {}
      terminationGracePeriodSeconds: 30
      containers: [{name: a, image: "nginx:1", imagePullPolicy: IfNotPresent, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}]`

const job = "metadata: {name: j, uid: u1}\nspec:" + template

const manual = job + "\n  manualSelector: true\n  selector: {matchLabels: {app: web}}"

func schedule(more string) string {
	return "metadata: {name: c}\nspec:\n  schedule: '*/5 * * * *'" + more + "\n  jobTemplate:\n    spec:" + strings.ReplaceAll(template, "\n", "\n    ")
}

func TestDefaults(t *testing.T) {
	tests := map[string]struct {
		of       *api.Info
		in, want string
	}{
		"a job": {Job, job, `
metadata.labels.app=web
spec.backoffLimit=6
spec.completionMode=NonIndexed
spec.completions=1
spec.manualSelector=false
spec.parallelism=1
spec.podReplacementPolicy=TerminatingOrFailed
spec.suspend=false`},
		"a job that works off a queue, with rules for failures": {Job, job + `
  parallelism: 3
  backoffLimitPerIndex: 1
  podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget}]}]}`, `
metadata.labels.app=web
spec.backoffLimit=2.147483647e+09
spec.completionMode=NonIndexed
spec.manualSelector=false
spec.podFailurePolicy.rules[0].onPodConditions[0].status=True
spec.podReplacementPolicy=Failed
spec.suspend=false`},
		"a cron job": {CronJob, schedule(""), `
spec.concurrencyPolicy=Allow
spec.failedJobsHistoryLimit=1
spec.successfulJobsHistoryLimit=3
spec.suspend=false`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := apitest.Added(t, tt.of, tt.in); got != strings.TrimSpace(tt.want) {
				t.Errorf("defaulting adds\n%s\nwant%s", got, tt.want)
			}
		})
	}
}

func TestPrepareTellsAJobsPodsApart(t *testing.T) {
	o := apitest.Defaulted(t, Job, "metadata: {name: j, uid: u1}\nspec: {template: {spec: {restartPolicy: Never}}}")
	Job.Prepare(o, nil)
	j := o.(*batchv1.Job)
	want := map[string]string{"controller-uid": "u1", "job-name": "j", "batch.kubernetes.io/controller-uid": "u1", "batch.kubernetes.io/job-name": "j"}
	if !same(j.Spec.Template.Labels, want) || !same(j.Labels, want) {
		t.Errorf("labels %v on pods, %v on the job, want %v", j.Spec.Template.Labels, j.Labels, want)
	}
	if got := j.Spec.Selector.MatchLabels; !same(got, map[string]string{"batch.kubernetes.io/controller-uid": "u1"}) {
		t.Errorf("selector %v", got)
	}
}

func TestValidation(t *testing.T) {
	tests := map[string]struct {
		of            *api.Info
		in, old, want string
	}{
		"a job":                          {Job, job, "", ``},
		"a job's pods that run for ever": {Job, strings.Replace(job, "Never", "Always", 1), "", `spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`},
		"negative counts": {Job, job + "\n  completions: -1\n  backoffLimit: -2", "", `
spec.completions: Invalid value: -1: must be greater than or equal to 0
spec.backoffLimit: Invalid value: -2: must be greater than or equal to 0`},
		"a selector of one's own":    {Job, job + "\n  selector: {matchLabels: {app: web}}", "", "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"batch.kubernetes.io/controller-uid\":\"u1\"}}: `selector` not auto-generated"},
		"another job's label":        {Job, strings.Replace(job, "app: web", "job-name: x", 1), "", "spec.template.metadata.labels[job-name]: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u1\",\"batch.kubernetes.io/job-name\":\"j\",\"controller-uid\":\"u1\",\"job-name\":\"x\"}: must be 'j'"},
		"an indexed job without end": {Job, job + "\n  completionMode: Indexed\n  parallelism: 2", "", `spec.completions: Required value: when completion mode is Indexed`},
		"completions, changed":       {Job, manual + "\n  completions: 2", manual, `spec.completions: Invalid value: 2: field is immutable`},
		"a template, changed": {Job, strings.Replace(manual, "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 31", 1), manual,
			`spec.template: Invalid value: {"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"a","image":"nginx:1","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Never","terminationGracePeriodSeconds":31,"dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler"}}: field is immutable`},
		"a node selector while it waits": {Job, strings.Replace(manual, "securityContext: {}", "securityContext: {}\n      nodeSelector: {a: b}", 1) + "\n  suspend: true", manual + "\n  suspend: true", ``},
		"a failure policy that says nothing": {Job, job + "\n  podFailurePolicy: {rules: [{action: FailIndex}]}", "", `
spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set
spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required`},
		"exit codes": {Job, job + "\n  podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, containerName: b, values: [0, 2, 1]}}]}", "", `
spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "b": must be one of the container or initContainer names in the pod template
spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator
spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [0,2,1]: must be ordered`},
		"a cron job":              {CronJob, schedule(""), "", ``},
		"a zone":                  {CronJob, schedule("\n  timeZone: UTC"), "", ``},
		"no such zone":            {CronJob, schedule("\n  timeZone: Moon/Base"), "", `spec.timeZone: Invalid value: "Moon/Base": unknown time zone Moon/Base`},
		"no such schedule":        {CronJob, strings.Replace(schedule(""), "*/5 * * * *", "often", 1), "", `spec.schedule: Invalid value: "often": expected exactly 5 fields, found 1: [often]`},
		"a zone in the schedule":  {CronJob, strings.Replace(schedule(""), "*/5 * * * *", "TZ=UTC 1 * * * *", 1), "", `spec.schedule: Invalid value: "TZ=UTC 1 * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead`},
		"no schedule":             {CronJob, strings.Replace(schedule(""), "*/5 * * * *", "", 1), "", `spec.schedule: Required value`},
		"a policy of one's own":   {CronJob, schedule("\n  concurrencyPolicy: Queue"), "", `spec.concurrencyPolicy: Unsupported value: "Queue": supported values: "Allow", "Forbid", "Replace"`},
		"a name of 53 characters": {CronJob, strings.Replace(schedule(""), "name: c", "name: "+strings.Repeat("c", 53), 1), "", `metadata.name: Invalid value: "` + strings.Repeat("c", 53) + `": must be no more than 52 characters`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := apitest.Check(t, tt.of, tt.in, tt.old); got != strings.TrimSpace(tt.want) {
				t.Errorf("complaints\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestTables(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{job + "\n  selector: {matchLabels: {a: b}}\nstatus: {succeeded: 1, startTime: '2026-01-01T00:00:00Z', completionTime: '2026-01-01T00:01:30Z', conditions: [{type: Complete, status: 'True'}]}",
			"j | Complete | 1/1 | 90s | <unknown> | [a] | [nginx:1] | [a=b]"},
		{job + "\n  parallelism: 3\nstatus: {conditions: [{type: Suspended, status: 'True'}]}", "j | Suspended | 0/1 of 3 |  | <unknown> | [a] | [nginx:1] | [<none>]"},
		{job + "\nstatus: {conditions: [{type: Complete, status: 'False'}]}", "j | Running | 0/1 |  | <unknown> | [a] | [nginx:1] | [<none>]"},
	} {
		if got := apitest.Row(Job, apitest.Defaulted(t, Job, tt.in)); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	if got, want := apitest.Header(Job), "Name | Status | Completions | Duration | Age | [Containers] | [Images] | [Selector]"; got != want {
		t.Error(got)
	}
	if got, want := apitest.Header(CronJob), "Name | Schedule | Timezone | Suspend | Active | Last Schedule | Age | [Containers] | [Images] | [Selector]"; got != want {
		t.Error(got)
	}
	if got, want := apitest.Row(CronJob, apitest.Defaulted(t, CronJob, schedule(""))), "c | */5 * * * * | <none> | False | 0 | <none> | <unknown> | [a] | [nginx:1] | [<none>]"; got != want {
		t.Error(got)
	}
}
