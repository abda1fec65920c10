package runtime

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// CNI is a node's pod network: a bridge, and addresses from the node's pod CIDRs. The plugins do no
// more than that: masquerading and host ports would need the nft program and 20 ms per pod each,
// and are packet rules like those of Services.
type CNI struct {
	Bridge  string         // name of the link; empty: "lighter0"
	Subnets []netip.Prefix // the node's pod CIDRs: one, or one of each family
	MTU     int            // of the pods' links; 0: the kernel's default
}

// WriteCNI writes the pod network's configuration to <data-dir>/cni/net.d/10-lighter.conflist,
// where containerd finds it at once. A file that says the same already is left alone. Source: CNI
// specification 1.0.0; the pages of the plugins bridge and host-local.
func WriteCNI(dirs Dirs, n CNI) error {
	text, err := n.conflist(dirs.CNIState)
	if err != nil {
		return err
	}
	path := filepath.Join(dirs.CNIConf, "10-lighter.conflist")
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, text) {
		return nil
	}
	if err := os.MkdirAll(dirs.CNIConf, 0o755); err != nil {
		return err
	}
	temp := filepath.Join(dirs.CNIConf, ".10-lighter.new")
	if err := os.WriteFile(temp, text, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

func (n CNI) conflist(state string) ([]byte, error) {
	type object = map[string]any
	if len(n.Subnets) == 0 {
		return nil, fmt.Errorf("the pod network needs a pod CIDR")
	}
	var ranges [][]object
	for _, s := range n.Subnets {
		ranges = append(ranges, []object{{"subnet": s.Masked().String()}})
	}
	if n.Bridge == "" {
		n.Bridge = "lighter0"
	}
	bridge := object{
		"type": "bridge", "bridge": n.Bridge,
		"isDefaultGateway": true, "hairpinMode": true, "ipMasq": false,
		"ipam": object{"type": "host-local", "dataDir": state, "ranges": ranges},
	}
	if n.MTU != 0 {
		bridge["mtu"] = n.MTU
	}
	text, err := json.MarshalIndent(object{"cniVersion": "1.0.0", "name": "lighter", "plugins": []object{bridge}}, "", "  ")
	return append(text, '\n'), err
}
