package volume

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// tree lists what a container sees in a volume: "path=content mode", links followed.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	var walk func(at string)
	walk = func(at string) {
		entries, err := os.ReadDir(filepath.Join(dir, at))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "..") {
				continue
			}
			path := filepath.Join(at, e.Name())
			info, err := os.Stat(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			if info.IsDir() {
				walk(path)
				continue
			}
			data, _ := os.ReadFile(filepath.Join(dir, path))
			out = append(out, fmt.Sprintf("%s=%s %o", path, data, info.Mode().Perm()))
		}
	}
	walk("")
	return strings.Join(out, ", ")
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	steps := []struct {
		name  string
		files map[string]file
		want  string
	}{
		{"first", map[string]file{"a": {data: []byte("1"), mode: 0o644}, "d/e": {data: []byte("2"), mode: 0o400}}, "a=1 644, d/e=2 400"},
		{"a change", map[string]file{"a": {data: []byte("9"), mode: 0o644}, "d/e": {data: []byte("2"), mode: 0o400}}, "a=9 644, d/e=2 400"},
		{"a mode", map[string]file{"a": {data: []byte("9"), mode: 0o600}, "d/e": {data: []byte("2"), mode: 0o400}}, "a=9 600, d/e=2 400"},
		{"one goes, one comes", map[string]file{"b": {data: []byte("3"), mode: 0o644}}, "b=3 644"},
		{"nothing", map[string]file{}, ""},
	}
	for _, s := range steps {
		if err := write(dir, s.files, nil, noon); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if got := tree(t, dir); got != s.want {
			t.Errorf("%s: got %q, want %q", s.name, got, s.want)
		}
		before, _ := os.Readlink(filepath.Join(dir, dataLink))
		if err := write(dir, s.files, nil, noon); err != nil {
			t.Fatal(err)
		}
		if after, _ := os.Readlink(filepath.Join(dir, dataLink)); after != before {
			t.Errorf("%s: the same content was written again", s.name)
		}
		dated, _ := filepath.Glob(filepath.Join(dir, "..2*"))
		if len(dated) != 1 {
			t.Errorf("%s: %q", s.name, dated)
		}
	}
	for _, bad := range []string{"../x", "/x", "a/../../x", "..data", "..", ""} {
		if err := write(dir, map[string]file{bad: {}}, nil, noon); err == nil {
			t.Errorf("path %q was taken", bad)
		}
	}
}

// A reader that follows ..data once sees one state of all files, whatever is written meanwhile.
func TestWriteIsAtomic(t *testing.T) {
	dir := t.TempDir()
	put := func(n int) {
		text := []byte(fmt.Sprint(n))
		if err := write(dir, map[string]file{"a": {data: text, mode: 0o644}, "b": {data: text, mode: 0o644}}, nil, noon); err != nil {
			t.Error(err)
		}
	}
	put(0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 100 {
			put(n)
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		at, err := os.Readlink(filepath.Join(dir, dataLink))
		if err != nil {
			t.Fatal(err)
		}
		a, err1 := os.ReadFile(filepath.Join(dir, at, "a"))
		b, err2 := os.ReadFile(filepath.Join(dir, at, "b"))
		if err1 == nil && err2 == nil && string(a) != string(b) {
			t.Fatalf("a is %s, b is %s", a, b)
		}
	}
}

// sources are fixed objects.
type sources struct {
	maps    map[string]map[string]string
	secrets map[string]map[string][]byte
	bundles []*certificatesv1.ClusterTrustBundle
	tokens  int
}

func (s *sources) TrustBundle(_ context.Context, name string) (*certificatesv1.ClusterTrustBundle, error) {
	for _, b := range s.bundles {
		if b.Name == name {
			return b, nil
		}
	}
	return nil, nil
}

func (s *sources) TrustBundles(_ context.Context, signer string) (out []*certificatesv1.ClusterTrustBundle, _ error) {
	for _, b := range s.bundles {
		if b.Spec.SignerName == signer {
			out = append(out, b)
		}
	}
	return out, nil
}

func (s *sources) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if d, ok := s.maps[name]; ok {
		return &corev1.ConfigMap{Data: d}, nil
	}
	return nil, nil
}

func (s *sources) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	if d, ok := s.secrets[name]; ok {
		return &corev1.Secret{Data: d}, nil
	}
	return nil, nil
}

func (s *sources) Token(_ context.Context, pod *corev1.Pod, audience string, seconds int64) (string, time.Time, error) {
	s.tokens++
	return fmt.Sprintf("token %d for %s", s.tokens, audience), noon.Add(time.Duration(seconds) * time.Second), nil
}

func (s *sources) Field(pod *corev1.Pod, path string) (string, error) { return path, nil }
func (s *sources) Resource(pod *corev1.Pod, ref *corev1.ResourceFieldSelector) (string, error) {
	return "", errors.New("no resources")
}

func TestContent(t *testing.T) {
	src := &sources{maps: map[string]map[string]string{"cm": {"x": "1", "y": "2"}}, secrets: map[string]map[string][]byte{"s": {"p": []byte("hush")}}}
	ref := corev1.LocalObjectReference{Name: "cm"}
	none := corev1.LocalObjectReference{Name: "none"}
	tests := map[string]struct {
		vol  corev1.VolumeSource
		want string
	}{
		"all of a ConfigMap": {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: ref}}, "x=1 644, y=2 644"},
		"some of it":         {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: ref, Items: []corev1.KeyToPath{{Key: "y", Path: "deep/y", Mode: ptr.To(int32(0o400))}}}}, "deep/y=2 400"},
		"a default mode":     {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", DefaultMode: ptr.To(int32(0o440))}}, "p=hush 440"},
		"a missing one":      {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: none}}, `error: configmap "none" not found`},
		"an optional one":    {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: none, Optional: ptr.To(true)}}, ""},
		"a missing key":      {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", Items: []corev1.KeyToPath{{Key: "q", Path: "q"}}}}, "error: references non-existent secret key: q"},
		"a missing secret":   {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "t"}}, `error: secret "t" not found`},
		"several in one": {corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", Audience: "vault", ExpirationSeconds: ptr.To(int64(1000))}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: ref, Items: []corev1.KeyToPath{{Key: "x", Path: "x"}}}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}}}}},
			"labels=metadata.labels 644, token=token 1 for vault 644, x=1 644"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			src.tokens = 0
			v := New(t.TempDir(), src, func() time.Time { return noon })
			files, _, err := v.content(t.Context(), &corev1.Pod{ObjectMeta: v1.ObjectMeta{UID: "u"}}, &corev1.Volume{Name: "v", VolumeSource: tt.vol})
			var got []string
			for _, path := range slices.Sorted(maps.Keys(files)) {
				got = append(got, fmt.Sprintf("%s=%s %o", path, files[path].data, files[path].mode))
			}
			if err != nil {
				got = []string{"error: " + err.Error()}
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

// TestTrust: certificates are in the file once each, of the bundles that the volume means.
func TestTrust(t *testing.T) {
	anchor := func(s string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(s)}))
	}
	bundle := func(name, signer, color string, anchors ...string) *certificatesv1.ClusterTrustBundle {
		b := &certificatesv1.ClusterTrustBundle{ObjectMeta: v1.ObjectMeta{Name: name, Labels: map[string]string{"color": color}}}
		b.Spec.SignerName, b.Spec.TrustBundle = signer, "said before\n"+strings.Join(anchors, "said between\n")
		return b
	}
	src := &sources{bundles: []*certificatesv1.ClusterTrustBundle{bundle("own", "", "red", anchor("b"), anchor("a"), anchor("b")),
		bundle("x:1", "x", "red", anchor("c")), bundle("x:2", "x", "blue", anchor("c"), anchor("d"))}}
	red := &v1.LabelSelector{MatchLabels: map[string]string{"color": "red"}}
	tests := map[string]struct {
		p    corev1.ClusterTrustBundleProjection
		want string
	}{
		"by name":                {corev1.ClusterTrustBundleProjection{Name: ptr.To("own")}, anchor("a") + anchor("b")},
		"by labels":              {corev1.ClusterTrustBundleProjection{SignerName: ptr.To("x"), LabelSelector: red}, anchor("c")},
		"all of a signer":        {corev1.ClusterTrustBundleProjection{SignerName: ptr.To("x"), LabelSelector: &v1.LabelSelector{}}, anchor("c") + anchor("d")},
		"no selector takes none": {corev1.ClusterTrustBundleProjection{SignerName: ptr.To("x")}, `error: no clustertrustbundles of signer "x" have the labels`},
		"none, but it may":       {corev1.ClusterTrustBundleProjection{SignerName: ptr.To("x"), Optional: ptr.To(true)}, ""},
		"another name":           {corev1.ClusterTrustBundleProjection{Name: ptr.To("other")}, `error: clustertrustbundle "other" not found`},
		"another, but it may":    {corev1.ClusterTrustBundleProjection{Name: ptr.To("other"), Optional: ptr.To(true)}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.p.Path = "ca.pem"
			v := New(t.TempDir(), src, func() time.Time { return noon })
			files, _, err := v.content(t.Context(), &corev1.Pod{}, &corev1.Volume{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ClusterTrustBundle: &tt.p}}}}})
			got := string(files["ca.pem"].data)
			if err != nil {
				got = "error: " + err.Error()
			} else if len(files) != 1 {
				t.Errorf("files %v", files)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTokensAreRenewedBeforeTheyEnd(t *testing.T) {
	src, now := &sources{}, noon
	v := New(t.TempDir(), src, func() time.Time { return now })
	pod := &corev1.Pod{ObjectMeta: v1.ObjectMeta{UID: "u"}}
	vol := &corev1.Volume{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: ptr.To(int64(1000))}}}}}}
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {799 * time.Second, 1}, {800 * time.Second, 2}} {
		now = noon.Add(tt.after)
		if _, next, err := v.content(t.Context(), pod, vol); err != nil || src.tokens != tt.want || next.IsZero() {
			t.Errorf("after %v: %d tokens, next %v, %v", tt.after, src.tokens, next, err)
		}
	}
	v.forget("u")
	if _, _, err := v.content(t.Context(), pod, vol); err != nil || src.tokens != 3 {
		t.Errorf("a pod's end forgets its tokens: %d, %v", src.tokens, err)
	}
}

func TestWhoMayReadCredentials(t *testing.T) {
	needRoot(t)
	for name, tt := range map[string]struct {
		user, group *int64
		want        string
	}{
		"nobody in particular":      {nil, nil, "-rw-r--r-- 0 0"},
		"a user":                    {ptr.To(int64(1000)), nil, "-rw------- 1000 0"},
		"a group":                   {nil, ptr.To(int64(10000)), "-rw-r----- 0 10000"},
		"a user and a group of his": {ptr.To(int64(1000)), ptr.To(int64(10000)), "-rw-r----- 1000 10000"},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{RunAsUser: tt.user, FSGroup: tt.group}, Containers: []corev1.Container{{}}}}
		dir := t.TempDir()
		if err := fill(dir, map[string]file{"token": credential(pod, []byte("x"), 0o644)}, fsGroup(pod)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, "token"))
		if err != nil {
			t.Fatal(err)
		}
		at := info.Sys().(*syscall.Stat_t)
		if got := fmt.Sprint(info.Mode(), at.Uid, at.Gid); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it mounts")
	}
}

// podWith is a pod with an emptyDir, set up.
func podWith(t *testing.T, v *Volumes, e corev1.EmptyDirVolumeSource, group *int64) (*corev1.Pod, string) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: v1.ObjectMeta{UID: "u"}, Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{FSGroup: group},
		Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &e}}}}}
	if _, err := v.Setup(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Teardown("u"); err != nil {
			t.Error(err)
		}
	})
	return pod, v.path(pod, &pod.Spec.Volumes[0])
}

func TestEmptyDir(t *testing.T) {
	needRoot(t)
	v := New(t.TempDir(), &sources{}, time.Now)
	_, dir := podWith(t, v, corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: ptr.To(resource.MustParse("64Ki"))}, ptr.To(int64(1234)))
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o777 || info.Mode()&fs.ModeSetgid == 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 1<<20), 0o600); err == nil {
		t.Error("more than its size limit went in")
	}
}

// A pod can make anything in its volume; a subPath must not lead out of it (CVE-2017-1002101, CVE-2021-25741).
func TestSubPathStaysInside(t *testing.T) {
	needRoot(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("node's"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := New(t.TempDir(), &sources{}, time.Now)
	pod, dir := podWith(t, v, corev1.EmptyDirVolumeSource{}, nil)
	links := map[string]string{"absolute": outside, "relative": "../../../../../../../../../.." + outside, "proc": "/proc/self/root", "inside": "real"}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "real/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "real/file"), []byte("ours"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		sub  string
		want string // what the mount holds, or "refused"
	}{
		"a directory":              {"real", "deep,file"},
		"a file":                   {"real/file", "ours"},
		"a link that stays inside": {"inside/file", "ours"},
		"a new directory":          {"new/dir", ""},
		"an absolute link":         {"absolute", "refused"},
		"through one":              {"absolute/secret", "refused"},
		"a new one through one":    {"absolute/made", "refused"},
		"a relative link":          {"relative/secret", "refused"},
		"through /proc":            {"proc/etc/passwd", "refused"},
		"dots":                     {"../../x", "refused"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/m", SubPath: tt.sub}}}
			mounts, err := v.Mounts(pod, c, func(s string) string { return s })
			got := "refused"
			if err == nil {
				got = ""
				if entries, err := os.ReadDir(mounts[0].HostPath); err == nil {
					var names []string
					for _, e := range entries {
						names = append(names, e.Name())
					}
					got = strings.Join(names, ",")
				} else if data, err := os.ReadFile(mounts[0].HostPath); err == nil {
					got = string(data)
				}
			}
			if got != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(outside, "made")); err == nil {
		t.Error("a directory was made outside")
	}
	if _, err := v.ReadFile(pod, "v", "absolute/secret", 100); err == nil {
		t.Error("a file outside was read")
	}
}

// The same while the pod swaps a directory for a link as fast as it can.
func TestSubPathRace(t *testing.T) {
	needRoot(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	v := New(t.TempDir(), &sources{}, time.Now)
	pod, dir := podWith(t, v, corev1.EmptyDirVolumeSource{}, nil)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		at := filepath.Join(dir, "x")
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.RemoveAll(at)
			_ = os.Mkdir(at, 0o755)
			_ = os.RemoveAll(at)
			_ = os.Symlink(outside, at)
		}
	}()
	c := &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/m", SubPath: "x/made"}}}
	for range 300 {
		if mounts, err := v.Mounts(pod, c, nil); err == nil {
			if _, err := os.Stat(filepath.Join(mounts[0].HostPath, "secret")); err == nil {
				t.Error("the mount is outside")
				break
			}
		}
	}
	close(stop)
	<-done
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Errorf("made outside: %v", entries)
	}
}

func TestTeardownSparesWhatIsMountedFromElsewhere(t *testing.T) {
	needRoot(t)
	node := t.TempDir()
	if err := os.WriteFile(filepath.Join(node, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	v := New(t.TempDir(), &sources{}, time.Now)
	_, dir := podWith(t, v, corev1.EmptyDirVolumeSource{}, nil)
	target := filepath.Join(dir, "mnt")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := bindBeneath(filepath.Dir(node), filepath.Base(node), target, nil); err != nil {
		t.Fatal(err)
	}
	if err := v.Teardown("u"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(node, "precious")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the volume is still there: %v", err)
	}
}

func TestHostPath(t *testing.T) {
	dir := t.TempDir()
	f := filepath.Join(dir, "f")
	if err := os.WriteFile(f, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		kind corev1.HostPathType
		want string
	}{
		{dir, corev1.HostPathDirectory, ""}, {f, corev1.HostPathFile, ""}, {f, corev1.HostPathUnset, ""}, {dir + "/none", corev1.HostPathUnset, ""},
		{f, corev1.HostPathDirectory, "hostPath type check failed: " + f + " is not a directory"}, {dir, corev1.HostPathFile, "hostPath type check failed: " + dir + " is not a file"},
		{dir + "/no", corev1.HostPathSocket, "hostPath type check failed: " + dir + "/no is not a socket file"},
		{dir + "/new/dir", corev1.HostPathDirectoryOrCreate, ""}, {dir + "/newfile", corev1.HostPathFileOrCreate, ""}, {"/dev/null", corev1.HostPathCharDev, ""},
	} {
		got := ""
		if err := hostPath(&corev1.HostPathVolumeSource{Path: tt.path, Type: &tt.kind}); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s as %q: got %q, want %q", tt.path, tt.kind, got, tt.want)
		}
	}
}
