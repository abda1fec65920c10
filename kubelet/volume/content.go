package volume

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// file is one file of a volume's content.
type file struct {
	data []byte
	mode uint32
	uid  *int64 // its owner, when not root
}

// content gathers the files of a volume, by their path in it.
func (v *Volumes) content(ctx context.Context, pod *corev1.Pod, vol *corev1.Volume) (map[string]file, time.Time, error) {
	files := map[string]file{}
	s := &vol.VolumeSource
	switch {
	case s.ConfigMap != nil:
		return files, time.Time{}, v.configMap(ctx, files, pod.Namespace, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional, mode(s.ConfigMap.DefaultMode))
	case s.Secret != nil:
		return files, time.Time{}, v.secret(ctx, files, pod.Namespace, s.Secret.SecretName, s.Secret.Items, s.Secret.Optional, mode(s.Secret.DefaultMode))
	case s.DownwardAPI != nil:
		return files, time.Time{}, v.downward(files, pod, s.DownwardAPI.Items, mode(s.DownwardAPI.DefaultMode))
	}
	var next time.Time
	def := mode(s.Projected.DefaultMode)
	for n, p := range s.Projected.Sources {
		var err error
		switch {
		case p.ConfigMap != nil:
			err = v.configMap(ctx, files, pod.Namespace, p.ConfigMap.Name, p.ConfigMap.Items, p.ConfigMap.Optional, def)
		case p.Secret != nil:
			err = v.secret(ctx, files, pod.Namespace, p.Secret.Name, p.Secret.Items, p.Secret.Optional, def)
		case p.DownwardAPI != nil:
			err = v.downward(files, pod, p.DownwardAPI.Items, def)
		case p.ServiceAccountToken != nil:
			var renew time.Time
			if renew, err = v.token(ctx, files, pod, p.ServiceAccountToken, def); err == nil && (next.IsZero() || renew.Before(next)) {
				next = renew
			}
		case p.PodCertificate != nil:
			var renew time.Time
			if renew, err = v.certificate(ctx, files, pod, certificateKey{pod.UID, vol.Name, n}, p.PodCertificate, def); err == nil && (next.IsZero() || renew.Before(next)) {
				next = renew
			}
		case p.ClusterTrustBundle != nil:
			err = v.trust(ctx, files, p.ClusterTrustBundle, def)
		default:
			err = fmt.Errorf("a projected source has a type that this node does not support")
		}
		if err != nil {
			return nil, time.Time{}, err
		}
	}
	return files, next, nil
}

// defaultMode is the mode of files when nothing else is said. Source: the volume types in the API.
const defaultMode = 0o644

func mode(m *int32) uint32 {
	if m == nil {
		return defaultMode
	}
	return uint32(*m)
}

func (v *Volumes) configMap(ctx context.Context, files map[string]file, namespace, name string, items []corev1.KeyToPath, optional *bool, def uint32) error {
	cm, err := v.source.ConfigMap(ctx, namespace, name)
	if err != nil {
		return err
	}
	may := optional != nil && *optional
	if cm == nil {
		if may {
			return nil
		}
		return fmt.Errorf("configmap %q not found", name)
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, s := range cm.Data {
		data[k] = []byte(s)
	}
	maps.Copy(data, cm.BinaryData)
	if err := project(files, data, items, may, def); err != nil {
		return fmt.Errorf("configmap references non-existent config key: %w", err)
	}
	return nil
}

func (v *Volumes) secret(ctx context.Context, files map[string]file, namespace, name string, items []corev1.KeyToPath, optional *bool, def uint32) error {
	s, err := v.source.Secret(ctx, namespace, name)
	if err != nil {
		return err
	}
	may := optional != nil && *optional
	if s == nil {
		if may {
			return nil
		}
		return fmt.Errorf("secret %q not found", name)
	}
	if err := project(files, s.Data, items, may, def); err != nil {
		return fmt.Errorf("references non-existent secret key: %w", err)
	}
	return nil
}

// project puts the data's keys, or those that items name, into files.
func project(files map[string]file, data map[string][]byte, items []corev1.KeyToPath, optional bool, def uint32) error {
	if len(items) == 0 {
		for _, k := range slices.Sorted(maps.Keys(data)) {
			files[k] = file{data: data[k], mode: def}
		}
		return nil
	}
	for _, it := range items {
		d, ok := data[it.Key]
		if !ok {
			if optional {
				continue
			}
			return fmt.Errorf("%s", it.Key)
		}
		f := file{data: d, mode: def}
		if it.Mode != nil {
			f.mode = uint32(*it.Mode)
		}
		files[it.Path] = f
	}
	return nil
}

func (v *Volumes) downward(files map[string]file, pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, def uint32) error {
	for _, it := range items {
		var text string
		var err error
		if it.FieldRef != nil {
			text, err = v.source.Field(pod, it.FieldRef.FieldPath)
		} else if it.ResourceFieldRef != nil {
			text, err = v.source.Resource(pod, it.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
		f := file{data: []byte(text), mode: def}
		if it.Mode != nil {
			f.mode = uint32(*it.Mode)
		}
		files[it.Path] = f
	}
	return nil
}

// tokens are the service account tokens in use. They are kept in memory only.
type tokens struct {
	mu   sync.Mutex
	held map[tokenKey]token
}

type tokenKey struct {
	pod      types.UID
	account  string
	audience string
	seconds  int64
}

type token struct {
	text  string
	renew time.Time // at 80 % of its life, or after a day
}

func (v *Volumes) token(ctx context.Context, files map[string]file, pod *corev1.Pod, p *corev1.ServiceAccountTokenProjection, def uint32) (time.Time, error) {
	seconds := int64(3600)
	if p.ExpirationSeconds != nil {
		seconds = *p.ExpirationSeconds
	}
	key := tokenKey{pod.UID, pod.Spec.ServiceAccountName, p.Audience, seconds}
	v.tokens.mu.Lock()
	t, ok := v.tokens.held[key]
	v.tokens.mu.Unlock()
	if now := v.now(); !ok || !now.Before(t.renew) {
		text, expires, err := v.source.Token(ctx, pod, p.Audience, seconds)
		if err != nil {
			return time.Time{}, fmt.Errorf("failed to fetch token: %w", err)
		}
		t = token{text, now.Add(min(expires.Sub(now)*8/10, 24*time.Hour))}
		v.tokens.mu.Lock()
		v.tokens.held[key] = t
		v.tokens.mu.Unlock()
	}
	files[p.Path] = credential(pod, []byte(t.text), def)
	return t.renew, nil
}

// credential is a file that the pod's one user alone may read, or its group (see own); where there is neither, it is like others.
// Source: Kubernetes documentation, Projected Volumes, SecurityContext interactions.
func credential(pod *corev1.Pod, data []byte, def uint32) file {
	f := file{data: data, mode: def, uid: oneUser(pod)}
	if f.uid != nil || fsGroup(pod) != nil {
		f.mode = 0o600
	}
	return f
}

// forget drops the tokens of a pod.
func (v *Volumes) forget(uid string) {
	v.certificates.forget(uid)
	v.tokens.mu.Lock()
	defer v.tokens.mu.Unlock()
	maps.DeleteFunc(v.tokens.held, func(k tokenKey, _ token) bool { return string(k.pod) == uid })
}

// oneUser is the user of all containers of the pod when the spec gives them the same one, else nil.
func oneUser(pod *corev1.Pod) *int64 {
	var common *int64
	if pod.Spec.SecurityContext != nil {
		common = pod.Spec.SecurityContext.RunAsUser
	}
	var one *int64
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			u := common
			if sc := list[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
				u = sc.RunAsUser
			}
			if u == nil || one != nil && *one != *u {
				return nil
			}
			one = u
		}
	}
	return one
}

// safe refuses paths that leave the volume or that the writer uses itself.
func safe(path string) error {
	if path == "" || strings.HasPrefix(path, "/") || strings.HasPrefix(path, "..") || slices.Contains(strings.Split(path, "/"), "..") {
		return fmt.Errorf("invalid path in volume: %q", path)
	}
	return nil
}
