package runtime

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"

	"golang.org/x/sys/unix"
)

// settings is what the configuration file says beside constants.
type settings struct {
	Dirs
	Programs
	CNIConf      string
	CNIBin       []string
	SandboxImage string
	LogLevel     string
	NoAppArmor   bool // the kernel has none: a profile would be an error
	KeepOOMScore bool // a negative oom_score_adj would be refused
}

// Version 3 is the format of containerd 2.0 and later. What is not said here is containerd's
// default. Cgroups are made directly ("cgroupfs"), below the parent that the kubelet names per pod.
var configText = template.Must(template.New("containerd.toml").Funcs(template.FuncMap{
	"q": strconv.Quote, "list": func(all []string) string {
		quoted := make([]string, len(all))
		for i, s := range all {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	},
}).Parse(`version = 3
root = {{q .Root}}
state = {{q .State}}
imports = []
oom_score = {{if .KeepOOMScore}}0{{else}}-999{{end}}
disabled_plugins = [
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.differ.v1.erofs",
  "io.containerd.mount-handler.v1.erofs", "io.containerd.image-verifier.v1.bindir",
  "io.containerd.monitor.container.v1.restart",
]

[debug]
  level = {{q .LogLevel}}

[grpc]
  address = {{q .Socket}}

[ttrpc]
  address = {{q (print .Socket ".ttrpc")}}

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  stats_collect_period = 10
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = {{q .SandboxImage}}
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = {{q .Registry}}

[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = {{.NoAppArmor}}
  restrict_oom_score_adj = {{.KeepOOMScore}}
  netns_mounts_under_state_dir = true
  stats_collect_period = "10s"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = {{list .CNIBin}}
    conf_dir = {{q .CNIConf}}
    use_internal_loopback = true
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      runtime_path = {{q .Shim}}
      disable_pause_image_pull = true
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = {{q .Runc}}
        Root = {{q (print .State "/runc")}}
        SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

[plugins."io.containerd.internal.v1.opt"]
  path = {{q (print .Root "/opt")}}

[plugins."io.containerd.nri.v1.nri"]
  disable = true

[plugins."io.containerd.shim.v1.manager"]
  socket_dir = {{q .ShimSocket}}
  env = ["GOGC=100"]
`))

// text is the configuration file, and the name it has: the name holds a hash of the content, so
// that the command line of a running containerd tells which configuration it has.
func (s settings) text() (name string, text []byte, err error) {
	var b bytes.Buffer
	if err := configText.Execute(&b, s); err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(b.Bytes())
	return filepath.Join(s.Run, "containerd-"+hex.EncodeToString(sum[:4])+".toml"), b.Bytes(), nil
}

// appArmor reports whether the kernel has AppArmor on and its parser is there.
func appArmor() bool {
	on, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if err != nil || !bytes.HasPrefix(on, []byte("Y")) {
		return false
	}
	_, err = exec.LookPath("apparmor_parser")
	return err == nil
}

// capSysResource reports whether this process may lower an oom_score_adj.
func capSysResource() bool {
	data := [2]unix.CapUserData{}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}
