package kubelet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/lighter-k8s/lighter/client"
)

// How often the node tells that it is alive. Source: kubelet configuration, nodeLeaseDurationSeconds,
// nodeStatusUpdateFrequency and nodeStatusReportFrequency.
const (
	leaseSeconds  = 40
	leaseRenew    = leaseSeconds * time.Second / 4
	statusCheck   = 10 * time.Second
	statusAtLeast = 5 * time.Minute
)

// kubeletVersion is what the node calls itself; it leads to how the API server treats it.
const kubeletVersion = "v1.37.2"

// machine is what does not change of the machine while it runs.
type machine struct {
	cpus   int64
	memory int64 // bytes
	info   corev1.NodeSystemInfo
}

func readMachine() machine {
	m := machine{cpus: int64(runtime.NumCPU())}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		m.memory = int64(si.Totalram) * int64(si.Unit)
	}
	var u unix.Utsname
	_ = unix.Uname(&u)
	m.info = corev1.NodeSystemInfo{MachineID: line("/etc/machine-id"), SystemUUID: strings.ToLower(line("/sys/class/dmi/id/product_uuid")),
		BootID: line("/proc/sys/kernel/random/boot_id"), KernelVersion: unix.ByteSliceToString(u.Release[:]), OSImage: osImage(),
		OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH, KubeletVersion: kubeletVersion}
	if m.info.SystemUUID == "" {
		m.info.SystemUUID = m.info.MachineID
	}
	return m
}

func line(file string) string {
	data, _ := os.ReadFile(file)
	return strings.TrimSpace(string(data))
}

func osImage() string {
	data, _ := os.ReadFile("/etc/os-release")
	for _, l := range strings.Split(string(data), "\n") {
		if v, ok := strings.CutPrefix(l, "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return "Linux"
}

// node keeps the Node object and its lease.
type node struct {
	k        *Kubelet
	uid      chan struct{} // closed when the Node exists
	owner    v1.OwnerReference
	reported time.Time // last status write
	runtime  string    // "containerd://2.4.2"
	ready    bool
	cidrs    []string // as last told
	began    time.Time
}

func newNode(k *Kubelet) *node { return &node{k: k, uid: make(chan struct{}), began: k.Now()} }

// registered tells whether the Node exists.
func (n *node) registered() bool {
	select {
	case <-n.uid:
		return true
	default:
		return false
	}
}

// run registers the node, then checks its status every 10 s and writes what changed.
func (n *node) run(ctx context.Context) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 7*time.Second) {
		err := n.register(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		n.k.Logger.Warn("node is not registered", "node", n.k.NodeName, "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
	close(n.uid)
	for {
		wait := statusCheck
		if err := n.update(ctx); err != nil && ctx.Err() == nil {
			n.k.Logger.Warn("node status is not written", "node", n.k.NodeName, "err", err)
			wait = time.Second
		}
		if !n.ready {
			wait = 500 * time.Millisecond // until the runtime and its network are
			if n.k.Now().Sub(n.began) < 10*time.Second {
				wait = 50 * time.Millisecond // the node comes up: others wait for it
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// register creates the Node, or brings the labels of an older one up to date.
func (n *node) register(ctx context.Context) error {
	k := n.k
	labels := map[string]string{corev1.LabelHostname: k.Hostname, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
		"beta.kubernetes.io/os": runtime.GOOS, "beta.kubernetes.io/arch": runtime.GOARCH}
	for key, v := range k.NodeLabels {
		labels[key] = v
	}
	old, err := client.Nodes.Get(ctx, k.Client, "", k.NodeName)
	if err == nil {
		patch := map[string]any{"metadata": map[string]any{"labels": labels, "annotations": k.annotations()}}
		if k.ProviderID != "" && old.Spec.ProviderID == "" {
			patch["spec"] = map[string]any{"providerID": k.ProviderID}
		}
		if !subset(labels, old.Labels) || !subset(k.annotations(), old.Annotations) || patch["spec"] != nil {
			if old, err = client.Nodes.Merge(ctx, k.Client, "", k.NodeName, "", patch); err != nil {
				return fmt.Errorf("update node: %w", err)
			}
		}
		n.owner = ownerOf(old)
		k.nodeLabels.Store(&old.Labels)
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("get node: %w", err)
	}
	obj := &corev1.Node{ObjectMeta: v1.ObjectMeta{Name: k.NodeName, Labels: labels, Annotations: k.annotations()},
		Spec: corev1.NodeSpec{ProviderID: k.ProviderID, Taints: k.Taints}}
	n.fill(ctx, &obj.Status, nil)
	made, err := client.Nodes.Create(ctx, k.Client, obj)
	if err != nil {
		return fmt.Errorf("create node: %w", err)
	}
	n.owner = ownerOf(made)
	k.nodeLabels.Store(&made.Labels)
	return nil
}

func (k *Kubelet) annotations() map[string]string {
	out := map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
	for key, v := range k.Annotations {
		out[key] = v
	}
	return out
}

func subset(a, b map[string]string) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func ownerOf(n *corev1.Node) v1.OwnerReference {
	return v1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID}
}

// update writes the node's status when it differs, or has not been written for five minutes.
func (n *node) update(ctx context.Context) error {
	k := n.k
	old, err := client.Nodes.Get(ctx, k.Client, "", k.NodeName)
	if apierrors.IsNotFound(err) {
		return n.register(ctx) // someone deleted it, and we are here
	}
	if err != nil {
		return err
	}
	k.nodeLabels.Store(&old.Labels)
	if k.PodCIDRs != nil && len(old.Spec.PodCIDRs) > 0 && !slices.Equal(old.Spec.PodCIDRs, n.cidrs) {
		n.cidrs = old.Spec.PodCIDRs
		k.PodCIDRs(slices.Clone(n.cidrs))
	}
	status := *old.Status.DeepCopy()
	n.fill(ctx, &status, old.Status.Conditions)
	now := k.Now()
	if now.Sub(n.reported) < statusAtLeast && sameStatus(&old.Status, &status) {
		n.tell(&status)
		return nil
	}
	for i := range status.Conditions {
		status.Conditions[i].LastHeartbeatTime = v1.NewTime(now.Truncate(time.Second))
	}
	list := status.Conditions
	next := map[string]any{"capacity": status.Capacity, "allocatable": status.Allocatable, "nodeInfo": status.NodeInfo, "addresses": status.Addresses,
		"daemonEndpoints": status.DaemonEndpoints, "conditions": list, "runtimeHandlers": status.RuntimeHandlers, "features": status.Features}
	if _, err := client.Nodes.Merge(ctx, k.Client, "", k.NodeName, "status", map[string]any{"status": next}); err != nil {
		return err
	}
	n.reported = now
	n.tell(&status)
	return nil
}

// tell says once that the node is ready.
func (n *node) tell(s *corev1.NodeStatus) {
	for _, c := range s.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue && !n.ready {
			n.ready = true
			n.k.nodeEvent(n.owner, corev1.EventTypeNormal, "NodeReady", fmt.Sprintf("Node %s status is now: NodeReady", n.k.NodeName))
			if n.k.Ready != nil {
				n.k.ready.Do(n.k.Ready)
			}
		}
	}
}

// nodeEvent records something about the node.
func (k *Kubelet) nodeEvent(owner v1.OwnerReference, kind, reason, message string) {
	k.events.EventOn(corev1.ObjectReference{Kind: "Node", Name: k.NodeName, UID: owner.UID}, kind, reason, message)
}

func sameStatus(a, b *corev1.NodeStatus) bool {
	x, y := a.DeepCopy(), b.DeepCopy()
	for _, s := range []*corev1.NodeStatus{x, y} {
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = v1.Time{}
		}
	}
	return apiequality.Semantic.DeepEqual(x, y)
}

// fill sets all that the kubelet says of its node; old conditions keep their transition times.
func (n *node) fill(ctx context.Context, s *corev1.NodeStatus, old []corev1.NodeCondition) {
	k := n.k
	s.Capacity, s.Allocatable = k.capacity(), k.allocatable()
	s.NodeInfo = k.machine.info
	if n.runtime == "" {
		vctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		if name, version, err := k.cri.Version(vctx); err == nil {
			n.runtime = name + "://" + strings.TrimPrefix(version, "v")
		}
		cancel()
	}
	s.NodeInfo.ContainerRuntimeVersion = n.runtime
	if n.runtime == "" {
		s.NodeInfo.ContainerRuntimeVersion = "unknown"
	}
	if handlers, policy, err := k.cri.Features(ctx); err == nil {
		s.RuntimeHandlers, s.Features = handlers, &corev1.NodeFeatures{SupplementalGroupsPolicy: &policy}
	}
	addresses := []corev1.NodeAddress{}
	for _, ip := range k.NodeIPs {
		addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	for _, ip := range k.ExternalIPs {
		addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: ip})
	}
	s.Addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: k.Hostname})
	if k.Listener != nil {
		s.DaemonEndpoints.KubeletEndpoint.Port = port(k.Listener.Addr().String())
	}
	condition := func(t corev1.NodeConditionType, ok bool, reason, message string) {
		c := corev1.NodeCondition{Type: t, Status: corev1.ConditionFalse, Reason: reason, Message: message,
			LastTransitionTime: v1.NewTime(k.Now().Truncate(time.Second)), LastHeartbeatTime: v1.NewTime(k.Now().Truncate(time.Second))}
		if ok {
			c.Status = corev1.ConditionTrue
		}
		i := slices.IndexFunc(s.Conditions, func(o corev1.NodeCondition) bool { return o.Type == t })
		if i < 0 {
			s.Conditions = append(s.Conditions, c)
			return
		}
		if s.Conditions[i].Status == c.Status {
			c.LastTransitionTime = s.Conditions[i].LastTransitionTime
		}
		c.LastHeartbeatTime = s.Conditions[i].LastHeartbeatTime
		s.Conditions[i] = c
	}
	pressure := func(t corev1.NodeConditionType, under bool, yes, no, message string) {
		condition(t, under, word(under, yes, no), message)
	}
	memory, disk, pids := k.pressure()
	pressure(corev1.NodeMemoryPressure, memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory", word(memory, "kubelet has insufficient memory available", "kubelet has sufficient memory available"))
	pressure(corev1.NodeDiskPressure, disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure", word(disk, "kubelet has disk pressure", "kubelet has no disk pressure"))
	pressure(corev1.NodePIDPressure, pids, "KubeletHasInsufficientPID", "KubeletHasSufficientPID", word(pids, "kubelet has insufficient PID available", "kubelet has sufficient PID available"))
	rt, network := k.cri.Ready(ctx)
	var problems []string
	for _, err := range []error{rt, network} {
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	if len(problems) > 0 {
		message := strings.Join(problems, ", ")
		if len(problems) > 1 {
			message = "[" + message + "]"
		}
		n.ready = false
		condition(corev1.NodeReady, false, "KubeletNotReady", message)
	} else {
		condition(corev1.NodeReady, true, "KubeletReady", "kubelet is posting ready status")
	}
}

func word(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

func port(addr string) int32 {
	i := strings.LastIndex(addr, ":")
	n, _ := strconv.Atoi(addr[i+1:])
	return int32(n)
}

// capacity is all the node has.
func (k *Kubelet) capacity() corev1.ResourceList {
	out := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(k.machine.cpus, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(k.machine.memory/1024*1024, resource.BinarySI),
		corev1.ResourcePods:   *resource.NewQuantity(int64(k.MaxPods), resource.DecimalSI),
	}
	var st unix.Statfs_t
	if unix.Statfs(k.RootDir, &st) == nil {
		out[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(int64(st.Blocks)*st.Bsize/1024*1024, resource.BinarySI)
	}
	sizes, _ := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-*kB")
	for _, dir := range sizes {
		kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB"), 10, 64)
		count, _ := strconv.ParseInt(line(dir+"/nr_hugepages"), 10, 64)
		size := resource.NewQuantity(kb*1024, resource.BinarySI)
		out[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size.String())] = *resource.NewQuantity(kb*1024*count, resource.BinarySI)
	}
	return out
}

// allocatable is what is left for pods.
func (k *Kubelet) allocatable() corev1.ResourceList {
	out := k.capacity()
	for name, q := range k.Reserved {
		if have, ok := out[name]; ok {
			have.Sub(q)
			if have.Sign() < 0 {
				have = resource.Quantity{}
			}
			out[name] = have
		}
	}
	return out
}

// pressure tells which resource of the node is about to run out. Source: Node-pressure Eviction, default
// hard thresholds: 100 MiB of memory, 10 % of the disk, 5 % of its inodes.
func (k *Kubelet) pressure() (memory, disk, pids bool) {
	if kb, ok := strings.CutPrefix(find("/proc/meminfo", "MemAvailable:"), "MemAvailable:"); ok {
		n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kb), " kB"), 10, 64)
		memory = n*1024 < 100<<20
	}
	var st unix.Statfs_t
	if unix.Statfs(k.RootDir, &st) == nil && st.Blocks > 0 {
		disk = st.Bavail*10 < st.Blocks || st.Files > 0 && st.Ffree*20 < st.Files
	}
	return memory, disk, pids
}

func find(file, prefix string) string {
	data, _ := os.ReadFile(file)
	for _, l := range strings.Split(string(data), "\n") {
		if strings.HasPrefix(l, prefix) {
			return l
		}
	}
	return ""
}

// lease renews the node's lease every quarter of its duration.
func (n *node) lease(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-n.uid:
	}
	var held *coordinationv1.Lease
	for {
		wait := leaseRenew
		next, err := n.renew(ctx, held)
		if err != nil && ctx.Err() == nil {
			n.k.Logger.Debug("node lease", "node", n.k.NodeName, "err", err)
			wait, next = 200*time.Millisecond, nil
			if held == nil {
				wait = time.Second
			}
		}
		held = next
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// renew writes the lease; held is what was written last, or nil to begin by reading.
func (n *node) renew(ctx context.Context, held *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseRenew)
	defer cancel()
	now := v1.NewMicroTime(n.k.Now())
	if held == nil {
		got, err := client.Leases.Get(ctx, n.k.Client, corev1.NamespaceNodeLease, n.k.NodeName)
		if apierrors.IsNotFound(err) {
			return client.Leases.Create(ctx, n.k.Client, &coordinationv1.Lease{
				ObjectMeta: v1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: n.k.NodeName, OwnerReferences: []v1.OwnerReference{n.owner}},
				Spec:       coordinationv1.LeaseSpec{HolderIdentity: ptr.To(n.k.NodeName), LeaseDurationSeconds: ptr.To(int32(leaseSeconds)), RenewTime: &now}})
		}
		if err != nil {
			return nil, err
		}
		held = got
	}
	next := held.DeepCopy()
	next.Spec.HolderIdentity, next.Spec.LeaseDurationSeconds, next.Spec.RenewTime = ptr.To(n.k.NodeName), ptr.To(int32(leaseSeconds)), &now
	if len(next.OwnerReferences) == 0 {
		next.OwnerReferences = []v1.OwnerReference{n.owner}
	}
	return client.Leases.Update(ctx, n.k.Client, next)
}
