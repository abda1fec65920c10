package kubelet

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/kubelet/inotify"
)

// Annotations of static pods and their mirrors. Source: "Create static Pods".
const (
	annotationSource = "kubernetes.io/config.source"
	annotationHash   = "kubernetes.io/config.hash"
	annotationSeen   = "kubernetes.io/config.seen"
)

// staticPods runs what the manifests in the directory say, whatever the API server says.
func (k *Kubelet) staticPods(ctx context.Context) error {
	watch, err := inotify.New(k.StaticPodDir)
	if err != nil {
		return err
	}
	defer watch.Close()
	mine := map[types.UID]*worker{}
	for {
		wait := 20 * time.Second
		want := k.manifests()
		k.mu.Lock()
		k.statics = want
		k.mu.Unlock()
		for uid, w := range mine {
			if want[uid] == nil {
				w.vanish()
				if k.has(uid) {
					wait = 200 * time.Millisecond // its successor of the same name waits for its end
				} else {
					delete(mine, uid)
				}
			}
		}
		for uid, pod := range want {
			blocked := mine[uid] != nil
			for other, w := range mine {
				w.mu.Lock()
				blocked = blocked || other != uid && w.pod.Namespace == pod.Namespace && w.pod.Name == pod.Name
				w.mu.Unlock()
			}
			if !blocked {
				mine[uid] = k.worker(pod, true)
			}
		}
		k.strayMirrors()
		if watch.Wait(ctx, wait) != nil {
			return nil
		}
	}
}

func (k *Kubelet) has(uid types.UID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.workers[uid] != nil
}

// manifests reads the directory's pods, by UID. A file that is no pod is skipped, with a warning.
func (k *Kubelet) manifests() map[types.UID]*corev1.Pod {
	out := map[types.UID]*corev1.Pod{}
	entries, err := os.ReadDir(k.StaticPodDir)
	if err != nil {
		k.Logger.Warn("static pods", "err", err)
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{".yaml", ".yml", ".json", ".manifest"}, filepath.Ext(e.Name())) {
			continue
		}
		file := filepath.Join(k.StaticPodDir, e.Name())
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		pod, err := k.staticPod(file, data)
		if err != nil {
			k.Logger.Warn("static pod", "object", file, "err", err)
			continue
		}
		out[pod.UID] = pod
	}
	return out
}

// staticPod makes a pod of a manifest. Its UID stands for the node, the file and its content.
func (k *Kubelet) staticPod(file string, data []byte) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(data, pod); err != nil {
		return nil, err
	}
	if pod.Kind != "" && pod.Kind != "Pod" || pod.Name == "" || len(pod.Spec.Containers) == 0 {
		return nil, fmt.Errorf("not a Pod with a name and containers")
	}
	sum := md5.Sum([]byte(k.NodeName + "\x00" + file + "\x00" + string(data)))
	pod.UID = types.UID(hex.EncodeToString(sum[:]))
	pod.Name += "-" + strings.ToLower(k.NodeName)
	if pod.Namespace == "" {
		pod.Namespace = corev1.NamespaceDefault
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[annotationSource], pod.Annotations[annotationHash] = "file", string(pod.UID)
	pod.Annotations[annotationSeen] = k.Now().Format(time.RFC3339Nano)
	pod.Spec.NodeName = k.NodeName
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending}
	setPodDefaults(pod)
	return pod, nil
}

// mirrorSeen keeps the newest state of a mirror pod, as the watch or (told false) the answer to a patch
// shows it: the latter may come after the watch has told that it is gone.
func (k *Kubelet) mirrorSeen(pod *corev1.Pod, told bool) {
	k.mu.Lock()
	key := pod.Namespace + "/" + pod.Name
	old := k.mirrors[key]
	if same := old != nil && old.UID == pod.UID; same && client.Version(pod) >= client.Version(old) || !same && told {
		k.mirrors[key] = pod
	}
	w := k.workers[types.UID(pod.Annotations[annotationHash])]
	k.mu.Unlock()
	if w != nil {
		w.poke()
	}
	k.strayMirrors()
}

// mirrorGone forgets a mirror pod that was deleted; its static pod will make another.
func (k *Kubelet) mirrorGone(pod *corev1.Pod) {
	k.mu.Lock()
	key := pod.Namespace + "/" + pod.Name
	if old := k.mirrors[key]; old != nil && old.UID == pod.UID {
		delete(k.mirrors, key)
	}
	w := k.workers[types.UID(pod.Annotations[annotationHash])]
	k.mu.Unlock()
	if w != nil {
		w.poke()
	}
}

// mirror returns the static pod's mirror if there is one of this very pod that is not being deleted.
func (k *Kubelet) mirror(pod *corev1.Pod) *corev1.Pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.mirrors[pod.Namespace+"/"+pod.Name]
	if m == nil || m.Annotations[corev1.MirrorPodAnnotationKey] != string(pod.UID) || m.DeletionTimestamp != nil {
		return nil
	}
	return m
}

// makeMirror brings the API server to have the static pod's mirror.
func (k *Kubelet) makeMirror(ctx context.Context, pod *corev1.Pod) error {
	k.mu.Lock()
	old := k.mirrors[pod.Namespace+"/"+pod.Name]
	k.mu.Unlock()
	if old != nil {
		if err := k.dropMirror(ctx, old); err != nil {
			return err
		}
	}
	m := pod.DeepCopy()
	m.UID, m.ResourceVersion = "", ""
	m.Annotations[corev1.MirrorPodAnnotationKey] = string(pod.UID)
	owner := k.node.owner
	owner.Controller = ptr.To(true)
	m.OwnerReferences = []v1.OwnerReference{owner}
	got, err := client.Pods.Create(ctx, k.Client, m)
	if err != nil {
		return err
	}
	k.mirrorSeen(got, true)
	return nil
}

func (k *Kubelet) dropMirror(ctx context.Context, m *corev1.Pod) error {
	err := client.Pods.Delete(ctx, k.Client, m.Namespace, m.Name, v1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0)), Preconditions: v1.NewUIDPreconditions(string(m.UID))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		err = nil
	}
	if err == nil {
		k.mirrorGone(m)
	}
	return err
}

// strayMirrors deletes the mirrors of static pods that are no more.
func (k *Kubelet) strayMirrors() {
	k.mu.Lock()
	var stray []*corev1.Pod
	if k.statics != nil || k.StaticPodDir == "" {
		for _, m := range k.mirrors {
			uid := types.UID(m.Annotations[corev1.MirrorPodAnnotationKey])
			if k.statics[uid] == nil && k.workers[uid] == nil && !k.closed {
				stray = append(stray, m)
			}
		}
	}
	k.work.Add(len(stray))
	k.mu.Unlock()
	for _, m := range stray {
		go func() {
			defer k.work.Done()
			if err := k.dropMirror(k.ctx, m); err != nil {
				k.Logger.Debug("stray mirror pod", "object", m.Namespace+"/"+m.Name, "err", err)
			}
		}()
	}
}
