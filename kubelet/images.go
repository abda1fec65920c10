package kubelet

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/kubelet/cri"
)

// startError is a failed start in the words of the container's waiting state.
type startError struct {
	reason  string
	message string
	pull    bool // wait with the pulls' back-off
}

func (e *startError) Error() string { return e.reason + ": " + e.message }

// images looks after the images of one runtime. Pulls of the same image run once.
type images struct {
	runtime *cri.Client
	client  client.Client

	mu    sync.Mutex
	pulls map[string]*pull
}

type pull struct {
	done chan struct{}
	ref  string
	err  error
}

// withTag adds the tag "latest" to an image that has neither tag nor digest.
func withTag(image string) string {
	name := image[strings.LastIndex(image, "/")+1:]
	if strings.ContainsAny(name, ":@") {
		return image
	}
	return image + ":latest"
}

// status returns the image if the runtime has it, else nil.
func (im *images) status(ctx context.Context, image string) (*runtimev1.Image, error) {
	r, err := im.runtime.Images.ImageStatus(ctx, &runtimev1.ImageStatusRequest{Image: &runtimev1.ImageSpec{Image: withTag(image), UserSpecifiedImage: image}})
	if err != nil {
		return nil, err
	}
	return r.Image, nil
}

// ensure makes the container's image present as its pull policy wants it and returns it. say records an event.
// Errors are startErrors.
func (im *images) ensure(ctx context.Context, pod *corev1.Pod, c *corev1.Container, say func(kind, reason, message string)) (*runtimev1.Image, error) {
	if c.Image == "" || strings.ContainsAny(c.Image, " \t\n") || strings.ToLower(repository(c.Image)) != repository(c.Image) {
		msg := fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: invalid reference format", c.Image, c.Image)
		say(corev1.EventTypeWarning, "InspectFailed", msg)
		return nil, &startError{reason: "InvalidImageName", message: msg}
	}
	img, err := im.status(ctx, c.Image)
	if err != nil {
		msg := fmt.Sprintf("Failed to inspect image %q: %v", c.Image, cri.Message(err))
		say(corev1.EventTypeWarning, "InspectFailed", msg)
		return nil, &startError{reason: "ImageInspectError", message: msg}
	}
	policy := c.ImagePullPolicy
	if policy == "" {
		policy = corev1.PullIfNotPresent
	}
	switch {
	case img != nil && policy != corev1.PullAlways:
		say(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", c.Image))
		return img, nil
	case policy == corev1.PullNever:
		msg := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
		say(corev1.EventTypeWarning, "ErrImageNeverPull", msg)
		return nil, &startError{reason: "ErrImageNeverPull", message: msg}
	}
	say(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", c.Image))
	began := time.Now()
	if err := im.pull(ctx, pod, c.Image); err != nil {
		say(corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %s", c.Image, cri.Message(err)))
		return nil, &startError{reason: "ErrImagePull", message: cri.Message(err), pull: true}
	}
	took := time.Since(began)
	img, err = im.status(ctx, c.Image)
	if err == nil && img == nil {
		err = errors.New("it is not there after the pull")
	}
	if err != nil {
		return nil, &startError{reason: "ImageInspectError", message: fmt.Sprintf("Failed to inspect image %q: %v", c.Image, cri.Message(err))}
	}
	say(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.",
		c.Image, took.Truncate(time.Millisecond), took.Truncate(time.Millisecond), img.Size))
	return img, nil
}

func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		image = image[:i]
	}
	return image
}

// pull pulls the image with the pod's credentials, one after the other, and without any last.
func (im *images) pull(ctx context.Context, pod *corev1.Pod, image string) error {
	auths := im.credentials(ctx, pod, image)
	key := image
	if len(auths) > 1 {
		key += "\x00" + string(pod.UID) // another pod's right to the image is not this one's
	}
	im.mu.Lock()
	p, running := im.pulls[key]
	if !running {
		p = &pull{done: make(chan struct{})}
		im.pulls[key] = p
	}
	im.mu.Unlock()
	if running {
		select {
		case <-p.done:
			return p.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, a := range auths {
		var r *runtimev1.PullImageResponse
		r, p.err = im.runtime.Images.PullImage(ctx, &runtimev1.PullImageRequest{Image: &runtimev1.ImageSpec{Image: withTag(image), UserSpecifiedImage: image}, Auth: a})
		if p.err == nil {
			p.ref = r.ImageRef
			break
		}
	}
	im.mu.Lock()
	delete(im.pulls, key)
	im.mu.Unlock()
	close(p.done)
	return p.err
}

// credentials are what the pod's imagePullSecrets hold for the image's registry, then none at all.
func (im *images) credentials(ctx context.Context, pod *corev1.Pod, image string) []*runtimev1.AuthConfig {
	var out []*runtimev1.AuthConfig
	for _, ref := range pod.Spec.ImagePullSecrets {
		s, err := client.Secrets.Get(ctx, im.client, pod.Namespace, ref.Name)
		if err != nil {
			continue // the pull itself will tell
		}
		out = append(out, secretAuths(s, image)...)
	}
	return append(out, nil)
}

// secretAuths reads the credentials for an image's registry out of a Secret of either docker type.
func secretAuths(s *corev1.Secret, image string) []*runtimev1.AuthConfig {
	type entry struct {
		Username, Password, Auth, IdentityToken, RegistryToken string
	}
	auths := map[string]entry{}
	if data, ok := s.Data[corev1.DockerConfigJsonKey]; ok {
		var f struct{ Auths map[string]entry }
		if json.Unmarshal(data, &f) == nil {
			auths = f.Auths
		}
	} else if data, ok := s.Data[corev1.DockerConfigKey]; ok {
		_ = json.Unmarshal(data, &auths)
	}
	repo := repository(image)
	if host, _, ok := strings.Cut(repo, "/"); !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		repo = "docker.io/" + repo
	}
	var out []*runtimev1.AuthConfig
	for server, e := range auths {
		where := strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")
		where = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(where, "/"), "/v1"), "/v2")
		where = strings.Replace(where, "index.docker.io", "docker.io", 1)
		if where == "" || repo != where && !strings.HasPrefix(repo, where+"/") {
			continue
		}
		a := &runtimev1.AuthConfig{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken, ServerAddress: server}
		if a.Username == "" && e.Auth != "" {
			if raw, err := base64.StdEncoding.DecodeString(e.Auth); err == nil {
				a.Username, a.Password, _ = strings.Cut(string(raw), ":")
			}
		}
		out = append(out, a)
	}
	return out
}
