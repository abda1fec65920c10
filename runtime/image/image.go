// Package image writes container images without a registry and without Docker: static programs,
// files and whole directories go in, a docker-archive (what `docker save` writes, and what
// `lighter image load` and runtime.ImportImage read) comes out. The same Spec gives the same bytes.
package image

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// Spec is an image. Only Names and something in Layers are required.
type Spec struct {
	Names  []string // as written in a pod: "guestbook:1" (which is docker.io/library/guestbook:1)
	Layers []Layer  // the lowest first

	Entrypoint   []string
	Cmd          []string
	Env          []string // "NAME=value"
	User         string   // "uid", "uid:gid" or a name in the image's /etc/passwd; empty: root
	WorkingDir   string   // empty: /
	ExposedPorts []string // "8080/tcp"
	StopSignal   string   // "SIGINT"; empty: SIGTERM
	Labels       map[string]string
	Architecture string // as GOARCH; empty: this machine's
}

// config is the image's config file. Source: OCI image specification, config.md.
type config struct {
	Created      time.Time `json:"created"`
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Config       struct {
		User         string              `json:"User,omitempty"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
		Env          []string            `json:"Env,omitempty"`
		Entrypoint   []string            `json:"Entrypoint,omitempty"`
		Cmd          []string            `json:"Cmd,omitempty"`
		WorkingDir   string              `json:"WorkingDir,omitempty"`
		Labels       map[string]string   `json:"Labels,omitempty"`
		StopSignal   string              `json:"StopSignal,omitempty"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// entry is the only element of the archive's manifest.json.
type entry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Write writes s to w as a docker-archive. Layers pass through a temporary file, never through memory.
func Write(w io.Writer, s Spec) (err error) {
	if len(s.Names) == 0 || len(s.Layers) == 0 {
		return errors.New("an image needs a name and a layer")
	}
	out := tar.NewWriter(w)
	manifest := entry{RepoTags: s.Names}
	conf := s.config()
	for i, layer := range s.Layers {
		digest, err := writeLayer(out, layer)
		if err != nil {
			return fmt.Errorf("layer %d of %s: %w", i, s.Names[0], err)
		}
		conf.RootFS.DiffIDs = append(conf.RootFS.DiffIDs, "sha256:"+digest)
		manifest.Layers = append(manifest.Layers, digest+".tar")
	}
	text, err := json.Marshal(conf)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	manifest.Config = hex.EncodeToString(sum[:]) + ".json"
	if err := writeFile(out, manifest.Config, text); err != nil {
		return err
	}
	if text, err = json.Marshal([]entry{manifest}); err != nil {
		return err
	}
	if err := writeFile(out, "manifest.json", text); err != nil {
		return err
	}
	return out.Close()
}

// WriteFile writes s to a new file at path, which appears only when it is whole.
func WriteFile(path string, s Spec) (err error) {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(Write(f, s), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (s Spec) config() config {
	c := config{Created: time.Unix(0, 0).UTC(), Architecture: s.Architecture, OS: "linux"}
	if c.Architecture == "" {
		c.Architecture = runtime.GOARCH
	}
	c.Config.User, c.Config.Env, c.Config.Labels = s.User, s.Env, s.Labels
	c.Config.Entrypoint, c.Config.Cmd = s.Entrypoint, s.Cmd
	c.Config.WorkingDir, c.Config.StopSignal = s.WorkingDir, s.StopSignal
	if len(s.ExposedPorts) > 0 {
		c.Config.ExposedPorts = map[string]struct{}{}
		for _, p := range s.ExposedPorts {
			c.Config.ExposedPorts[p] = struct{}{}
		}
	}
	c.RootFS.Type = "layers"
	return c
}

// writeLayer adds the layer as <digest>.tar and returns its digest in hex.
func writeLayer(out *tar.Writer, layer Layer) (string, error) {
	temp, err := os.CreateTemp("", "layer-*.tar")
	if err != nil {
		return "", err
	}
	defer temp.Close()
	defer os.Remove(temp.Name())
	sum := sha256.New()
	if err := layer.write(io.MultiWriter(temp, sum)); err != nil {
		return "", err
	}
	size, err := temp.Seek(0, io.SeekCurrent)
	if err != nil {
		return "", err
	}
	if _, err := temp.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	if err := out.WriteHeader(&tar.Header{Name: digest + ".tar", Mode: 0o644, Size: size}); err != nil {
		return "", err
	}
	_, err = io.Copy(out, temp)
	return digest, err
}

func writeFile(out *tar.Writer, name string, data []byte) error {
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := out.Write(data)
	return err
}
