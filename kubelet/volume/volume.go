// Package volume makes the directories, mounts and files behind a pod's volumes, keeps their content up to
// date, and takes them away. The kubelet's pod workers call it: Setup until it succeeds and whenever
// content may have changed, Mounts for each container, Teardown when no process of the pod is left.
package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

// Source is where the content of volumes comes from.
type Source interface {
	// ConfigMap and Secret return nil when there is none of the name.
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	// TrustBundle returns nil when there is none of the name; TrustBundles returns all of a signer.
	TrustBundle(ctx context.Context, name string) (*certificatesv1.ClusterTrustBundle, error)
	TrustBundles(ctx context.Context, signer string) ([]*certificatesv1.ClusterTrustBundle, error)
	// Token makes a token for the pod's service account; audience "" is the API server's.
	Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (token string, expires time.Time, err error)
	// RequestCertificate asks a signer for a certificate for the pod and returns the request's name; stub is a signing request in DER.
	// CertificateRequest returns nil when the request is gone; it may wait a moment for an answer.
	RequestCertificate(ctx context.Context, pod *corev1.Pod, p *corev1.PodCertificateProjection, stub []byte) (name string, err error)
	CertificateRequest(ctx context.Context, pod *corev1.Pod, name string) (*certificatesv1.PodCertificateRequest, error)
	// Field and Resource are downward API values; container "" is only right where the ref names one.
	Field(pod *corev1.Pod, path string) (string, error)
	Resource(pod *corev1.Pod, ref *corev1.ResourceFieldSelector) (string, error)
}

// Volumes are all volumes of the pods of one node. Calls for one pod must not overlap; others may.
type Volumes struct {
	dir    string // of all pods
	source Source
	now    func() time.Time
	tokens tokens

	certificates certificates
}

// New keeps volumes in dir/<pod UID>/volumes.
func New(dir string, source Source, now func() time.Time) *Volumes {
	return &Volumes{dir: dir, source: source, now: now, tokens: tokens{held: map[tokenKey]token{}}, certificates: certificates{held: map[certificateKey]*certificate{}}}
}

// Error tells which volume could not be set up.
type Error struct {
	Volume string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}
func (e *Error) Unwrap() error { return e.Err }

// Setup brings all volumes of the pod to what its spec and the sources say now. next is when a token has
// to be renewed, or zero. It does nothing to what is right already. Errors: *Error.
func (v *Volumes) Setup(ctx context.Context, pod *corev1.Pod) (next time.Time, err error) {
	for i := range pod.Spec.Volumes {
		vol := &pod.Spec.Volumes[i]
		renew, err := v.setup(ctx, pod, vol)
		if err != nil {
			return time.Time{}, &Error{vol.Name, err}
		}
		if !renew.IsZero() && (next.IsZero() || renew.Before(next)) {
			next = renew
		}
	}
	return next, nil
}

// Live tells whether the content of a pod's volumes may change while it runs.
func Live(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		s := &pod.Spec.Volumes[i].VolumeSource
		if s.ConfigMap != nil || s.Secret != nil || s.DownwardAPI != nil || s.Projected != nil {
			return true
		}
	}
	return false
}

func (v *Volumes) setup(ctx context.Context, pod *corev1.Pod, vol *corev1.Volume) (renew time.Time, err error) {
	s, dir, group := &vol.VolumeSource, v.path(pod, vol), fsGroup(pod)
	switch {
	case s.HostPath != nil:
		return renew, hostPath(s.HostPath)
	case s.EmptyDir != nil:
		return renew, emptyDir(dir, s.EmptyDir, group)
	case s.ConfigMap != nil, s.Secret != nil, s.DownwardAPI != nil, s.Projected != nil:
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return renew, err
		}
		if s.ConfigMap == nil && s.DownwardAPI == nil { // secrets stay off the disk
			if err := tmpfs(dir, 0); err != nil {
				return renew, err
			}
		}
		files, renew, err := v.content(ctx, pod, vol)
		if err != nil {
			return renew, err
		}
		return renew, write(dir, files, group, v.now())
	case s.PersistentVolumeClaim != nil:
		return renew, fmt.Errorf("persistent volume claim %q: this node cannot mount persistent volumes", s.PersistentVolumeClaim.ClaimName)
	}
	return renew, errors.New("this node does not support volumes of its type")
}

// path is where the volume is on the node.
func (v *Volumes) path(pod *corev1.Pod, vol *corev1.Volume) string {
	if vol.HostPath != nil {
		return vol.HostPath.Path
	}
	kind := "empty-dir"
	switch {
	case vol.ConfigMap != nil:
		kind = "configmap"
	case vol.Secret != nil:
		kind = "secret"
	case vol.DownwardAPI != nil:
		kind = "downward-api"
	case vol.Projected != nil:
		kind = "projected"
	}
	return filepath.Join(v.dir, string(pod.UID), "volumes", "kubernetes.io~"+kind, vol.Name)
}

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

func emptyDir(dir string, s *corev1.EmptyDirVolumeSource, group *int64) error {
	if _, err := os.Stat(dir); err == nil && (s.Medium != corev1.StorageMediumMemory || mounted(dir)) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	switch s.Medium {
	case corev1.StorageMediumDefault:
	case corev1.StorageMediumMemory:
		size := int64(0)
		if s.SizeLimit != nil {
			size = s.SizeLimit.Value()
		}
		if err := tmpfs(dir, size); err != nil {
			return err
		}
	default:
		return fmt.Errorf("storage medium %q is not supported", s.Medium)
	}
	mode := fs.FileMode(0o777)
	if group != nil {
		if err := os.Chown(dir, -1, int(*group)); err != nil {
			return err
		}
		mode |= fs.ModeSetgid
	}
	return os.Chmod(dir, mode) // whatever the umask
}

// tmpfs mounts a memory file system of at most size bytes (0: half the memory), unless dir has one.
func tmpfs(dir string, size int64) error {
	if mounted(dir) {
		return nil
	}
	options := "mode=0777"
	if size > 0 {
		options += ",size=" + strconv.FormatInt(size, 10)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	return nil
}

// mounted tells whether something is mounted on dir, which is never a mount of its parent's file system.
func mounted(dir string) bool {
	var at, up unix.Stat_t
	return unix.Lstat(dir, &at) == nil && unix.Lstat(filepath.Dir(dir), &up) == nil && at.Dev != up.Dev
}

func hostPath(s *corev1.HostPathVolumeSource) error {
	if s.Type == nil || *s.Type == corev1.HostPathUnset {
		return nil
	}
	info, err := os.Stat(s.Path)
	missing := errors.Is(err, fs.ErrNotExist)
	switch t := *s.Type; {
	case err != nil && !missing:
		return fmt.Errorf("hostPath type check failed: %w", err)
	case t == corev1.HostPathDirectoryOrCreate && missing:
		return os.MkdirAll(s.Path, 0o755)
	case t == corev1.HostPathFileOrCreate && missing:
		f, err := os.OpenFile(s.Path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return err
		}
		return f.Close()
	case missing && t != corev1.HostPathDirectoryOrCreate && t != corev1.HostPathFileOrCreate:
		return fmt.Errorf("hostPath type check failed: %s is not a %s", s.Path, kinds[t].word)
	default:
		if k, ok := kinds[t]; ok && info.Mode().Type() != k.mode {
			return fmt.Errorf("hostPath type check failed: %s is not a %s", s.Path, k.word)
		}
	}
	return nil
}

var kinds = map[corev1.HostPathType]struct {
	mode fs.FileMode
	word string
}{
	corev1.HostPathDirectory: {fs.ModeDir, "directory"}, corev1.HostPathDirectoryOrCreate: {fs.ModeDir, "directory"},
	corev1.HostPathFile: {0, "file"}, corev1.HostPathFileOrCreate: {0, "file"},
	corev1.HostPathSocket: {fs.ModeSocket, "socket file"}, corev1.HostPathCharDev: {fs.ModeDevice | fs.ModeCharDevice, "character device"},
	corev1.HostPathBlockDev: {fs.ModeDevice, "block device"},
}
