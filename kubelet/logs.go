package kubelet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/lighter-k8s/lighter/kubelet/cri"
	"github.com/lighter-k8s/lighter/kubelet/server"
)

// Limits of logs and termination messages. Source: kubelet configuration, containerLogMaxSize and
// containerLogMaxFiles; Container API type, terminationMessagePath.
const (
	logMaxSize     = 10 << 20
	logMaxFiles    = 5
	logEvery       = 10 * time.Second
	messageMax     = 4096
	messageFromLog = 2048
	messageLines   = 80
)

// lastWords is the termination message of a container that ended: its file's content or, if it failed and
// wants that, the end of its log.
func (k *Kubelet) lastWords(pod *corev1.Pod, c *cri.Container) string {
	text := ""
	if c.TerminationPath != "" {
		// The container could have made anything of the file's path, but not of the file: it is a mount.
		if fd, err := unix.Open(c.TerminationPath, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			f := os.NewFile(uintptr(fd), c.TerminationPath)
			data, _ := io.ReadAll(io.LimitReader(f, messageMax))
			f.Close()
			text = string(data)
		}
	}
	if text == "" && c.TerminationPolicy == string(corev1.TerminationMessageFallbackToLogsOnError) && c.ExitCode != 0 && c.LogPath != "" {
		var b bytes.Buffer
		lines := int64(messageLines)
		if err := server.CopyLog(context.Background(), c.LogPath, server.LogOptions{Tail: &lines}, nil, &b, &b); err == nil {
			text = string(b.Bytes()[max(0, b.Len()-messageFromLog):])
		}
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// removeLogs deletes a container's log and what was rotated out of it.
func removeLogs(path string) error {
	if path == "" {
		return nil
	}
	old, err := filepath.Glob(path + "*")
	for _, f := range old {
		err = errors.Join(err, os.Remove(f))
	}
	return err
}

// rotateLogs keeps each running container's log within bounds.
func (k *Kubelet) rotateLogs(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(logEvery):
		}
		_ = filepath.WalkDir(k.LogDir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".log") {
				return nil
			}
			if info, err := e.Info(); err == nil && info.Size() > logMaxSize {
				if err := k.rotate(ctx, path); err != nil {
					k.Logger.Debug("rotate log", "object", path, "err", err)
				}
			}
			return nil
		})
	}
}

// rotate moves a log aside and has the runtime open a new one.
func (k *Kubelet) rotate(ctx context.Context, path string) error {
	id := k.containerOf(path)
	if id == "" {
		return nil // it ended: its log stays as it is
	}
	old, err := filepath.Glob(path + ".*")
	if err != nil {
		return err
	}
	slices.Sort(old)
	for len(old) > logMaxFiles-2 {
		if err := os.Remove(old[0]); err != nil {
			return err
		}
		old = old[1:]
	}
	aside := path + "." + k.Now().UTC().Format("20060102-150405")
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	if _, err := k.cri.Runtime.ReopenContainerLog(ctx, &runtimev1.ReopenContainerLogRequest{ContainerId: id}); err != nil {
		return errors.Join(err, os.Rename(aside, path))
	}
	return nil
}

// containerOf finds the running container that writes the log.
func (k *Kubelet) containerOf(path string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		if seen := w.snapshot.Load(); seen != nil {
			for i := range seen.Containers {
				if c := &seen.Containers[i]; c.State == cri.Running && c.LogPath == path {
					return c.ID
				}
			}
		}
	}
	return ""
}

// parseEnvFile reads NAME=value lines; blank ones and comments are skipped, one pair of quotes is removed.
func parseEnvFile(text string) map[string]string {
	out := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(strings.TrimSuffix(line, "\r"))
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		value = strings.TrimSpace(value)
		if n := len(value); n >= 2 && (value[0] == '\'' || value[0] == '"') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		out[strings.TrimSpace(name)] = value
	}
	return out
}
