package builtin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/events"
)

// What kubectl get -o wide prints above and of an object; columns in brackets show only there.
func TestColumns(t *testing.T) {
	const meta = "metadata: {name: a, namespace: ns, creationTimestamp: '2020-01-02T03:04:05Z', annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}\n"
	for name, tt := range map[string]struct{ doc, want string }{
		"ingress": {"apiVersion: networking.k8s.io/v1\nkind: Ingress\n" + meta + "spec: {ingressClassName: c, tls: [{}], rules: [{host: a.b}, {host: c.d}, {host: e.f}, {host: g.h}]}\nstatus: {loadBalancer: {ingress: [{ip: 1.2.3.4}, {hostname: lb}]}}",
			"Name=a Class=c Hosts=a.b,c.d,e.f + 1 more... Address=1.2.3.4,lb Ports=80, 443 Age=*"},
		"ingress class":  {"apiVersion: networking.k8s.io/v1\nkind: IngressClass\n" + meta + "spec: {controller: a.io/x, parameters: {apiGroup: a.io, kind: P, name: p}}", "Name=a Controller=a.io/x Parameters=P.a.io/p Age=*"},
		"network policy": {"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n" + meta + "spec: {podSelector: {}}", "Name=a Pod-Selector=<none> Age=*"},
		"address":        {"apiVersion: networking.k8s.io/v1\nkind: IPAddress\n" + meta + "spec: {parentRef: {resource: services, namespace: default, name: kubernetes}}", "Name=a ParentRef=services/default/kubernetes"},
		"range":          {"apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\n" + meta + "spec: {cidrs: [10.0.0.0/8, 'fd00::/8']}", "Name=a CIDRs=10.0.0.0/8,fd00::/8 Age=*"},
		"slice": {"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n" + meta + "addressType: IPv4\nports: [{port: 80}, {name: x}]\nendpoints: [{addresses: [1.1.1.1]}, {addresses: [1.1.1.2]}, {addresses: [1.1.1.3]}, {addresses: [1.1.1.4]}]",
			"Name=a AddressType=IPv4 Ports=80,x Endpoints=1.1.1.1,1.1.1.2,1.1.1.3 + 1 more... Age=*"},
		"empty slice": {"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n" + meta + "addressType: IPv6", "Name=a AddressType=IPv6 Ports=<unset> Endpoints=<unset> Age=*"},
		"lease":       {"apiVersion: coordination.k8s.io/v1\nkind: Lease\n" + meta + "spec: {holderIdentity: me}", "Name=a Holder=me Age=*"},
		"priority":    {"apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\n" + meta + "value: 5", "Name=a Value=5 Global-Default=false Age=* PreemptionPolicy=PreemptLowerPriority"},
		"role":        {"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n" + meta, "Name=a Created At=2020-01-02T03:04:05Z"},
		"binding": {"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n" + meta + "roleRef: {kind: Role, name: r}\nsubjects: [{kind: User, name: u}, {kind: User, name: v}, {kind: ServiceAccount, namespace: ns, name: s}]",
			"Name=a Role=Role/r Age=* [Users=u, v] [Groups=] [ServiceAccounts=ns/s]"},
		"storage class": {"apiVersion: storage.k8s.io/v1\nkind: StorageClass\n" + meta + "provisioner: p", "Name=a (default) Provisioner=p ReclaimPolicy=Delete VolumeBindingMode=Immediate AllowVolumeExpansion=false Age=*"},
		"attachment":    {"apiVersion: storage.k8s.io/v1\nkind: VolumeAttachment\n" + meta + "spec: {attacher: x, nodeName: n1, source: {persistentVolumeName: pv}}\nstatus: {attached: true}", "Name=a Attacher=x PV=pv Node=n1 Attached=true Age=*"},
		"driver": {"apiVersion: storage.k8s.io/v1\nkind: CSIDriver\n" + meta + "spec: {podInfoOnMount: true, volumeLifecycleModes: [Persistent, Ephemeral]}",
			"Name=a AttachRequired=true PodInfoOnMount=true StorageCapacity=false TokenRequests=<unset> RequiresRepublish=false Modes=Persistent,Ephemeral Age=*"},
		"request": {"apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\n" + meta + "spec: {request: eA==, signerName: a.b/c, username: me, expirationSeconds: 3600}\nstatus: {conditions: [{type: Approved, status: 'True'}], certificate: eA==}",
			"Name=a Age=* SignerName=a.b/c Requestor=me RequestedDuration=60m Condition=Approved,Issued"},
		"flow schema": {"apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: FlowSchema\n" + meta + "spec: {priorityLevelConfiguration: {name: p}, distinguisherMethod: {type: ByUser}}\nstatus: {conditions: [{type: Dangling, status: 'False'}]}",
			"Name=a PriorityLevel=p MatchingPrecedence=1000 DistinguisherMethod=ByUser Age=* MissingPL=False"},
		"priority level": {"apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: PriorityLevelConfiguration\n" + meta + "spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}",
			"Name=a Type=Limited NominalConcurrencyShares=30 Queues=64 HandSize=8 QueueLengthLimit=50 Age=*"},
		"policy":       {"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\n" + meta + "spec: {paramKind: {apiVersion: v1, kind: ConfigMap}, validations: [{expression: x}]}", "Name=a Validations=1 ParamKind=v1/ConfigMap Age=*"},
		"claim":        {"apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\n" + meta + "spec: {}\nstatus: {allocation: {}, reservedFor: [{resource: pods, name: p, uid: u}]}", "Name=a State=allocated,reserved Age=*"},
		"device slice": {"apiVersion: resource.k8s.io/v1\nkind: ResourceSlice\n" + meta + "spec: {driver: d, nodeName: n1, pool: {name: p}}", "Name=a Node=n1 Driver=d Pool=p Age=*"},
		"events.k8s.io event": {"apiVersion: events.k8s.io/v1\nkind: Event\n" + meta + "type: Warning\nreason: R\nnote: Nn\nregarding: {kind: Pod, name: p, fieldPath: f}\ndeprecatedSource: {component: c}\ndeprecatedCount: 3\ndeprecatedFirstTimestamp: '2020-01-02T03:04:05Z'\ndeprecatedLastTimestamp: '2020-01-02T03:04:05Z'",
			"Last Seen=* Type=Warning Reason=R Object=pod/p [Subobject=f] [Source=c] Message=Nn [First Seen=*] [Count=3] [Name=a]"},
	} {
		t.Run(name, func(t *testing.T) {
			i, obj := read(t, tt.doc)
			i.Default(obj)
			age := api.Age(obj.GetCreationTimestamp())
			var got []string
			for _, c := range i.Table() {
				cell := fmt.Sprint(c.Show(obj))
				if cell == age {
					cell = "*"
				}
				if cell = c.Name + "=" + cell; c.Priority > 0 {
					cell = "[" + cell + "]"
				}
				got = append(got, cell)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
		})
	}
}

// An event comes back the same from its other form, whichever it was made in.
func TestEventsConvertBothWays(t *testing.T) {
	now := metav1.NewMicroTime(time.Unix(1e9, 5000))
	e := &eventsv1.Event{
		TypeMeta:   metav1.TypeMeta{APIVersion: "events.k8s.io/v1", Kind: "Event"},
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "n", Labels: map[string]string{"k": "v"}},
		EventTime:  now, Series: &eventsv1.EventSeries{Count: 3, LastObservedTime: now},
		ReportingController: "c", ReportingInstance: "i", Action: "A", Reason: "R",
		Regarding: corev1.ObjectReference{Kind: "Pod", Name: "p"}, Related: &corev1.ObjectReference{Kind: "Node", Name: "m"},
		Note: "N", Type: "Normal", DeprecatedSource: corev1.EventSource{Component: "x", Host: "h"},
		DeprecatedFirstTimestamp: metav1.Unix(1, 0), DeprecatedLastTimestamp: metav1.Unix(2, 0), DeprecatedCount: 9,
	}
	value, err := api.EncodeStored(events.Event, e)
	if err != nil {
		t.Fatal(err)
	}
	if _, apiVersion, kind, _ := api.RawStored(value); apiVersion != "v1" || kind != "Event" {
		t.Errorf("stored as %s %s", apiVersion, kind)
	}
	stored, err := api.DecodeStored(events.Event.Stored, value)
	if err != nil {
		t.Fatal(err)
	}
	c := stored.(*corev1.Event)
	if c.Message != "N" || c.InvolvedObject.Name != "p" || c.Count != 9 || c.Series.Count != 3 || c.Source.Host != "h" {
		t.Errorf("stored %+v", c)
	}
	back, err := api.DecodeStored(events.Event, value)
	if err != nil {
		t.Fatal(err)
	}
	if !apiequality.Semantic.DeepEqual(api.Object(e), back) {
		t.Errorf("got %+v, want %+v", back, e)
	}
}
