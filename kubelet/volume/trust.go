package volume

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// trust puts the certificates of a trust bundle, or of a signer's bundles with some labels, into one file: each once, without what
// stands between them, and in an order that says nothing. Source: core/v1, ClusterTrustBundleProjection.
func (v *Volumes) trust(ctx context.Context, files map[string]file, p *corev1.ClusterTrustBundleProjection, def uint32) error {
	var from []*certificatesv1.ClusterTrustBundle
	switch {
	case p.Name != nil:
		b, err := v.source.TrustBundle(ctx, *p.Name)
		if err != nil {
			return err
		}
		if b != nil {
			from = append(from, b)
		}
	case p.SignerName != nil:
		selector, err := v1.LabelSelectorAsSelector(p.LabelSelector) // nil takes none, an empty one all
		if err != nil {
			return fmt.Errorf("labelSelector of a trust bundle: %w", err)
		}
		all, err := v.source.TrustBundles(ctx, *p.SignerName)
		if err != nil {
			return err
		}
		for _, b := range all {
			if selector.Matches(labels.Set(b.Labels)) {
				from = append(from, b)
			}
		}
	}
	if len(from) == 0 && !(p.Optional != nil && *p.Optional) {
		if p.Name != nil {
			return fmt.Errorf("clustertrustbundle %q not found", *p.Name)
		}
		return fmt.Errorf("no clustertrustbundles of signer %q have the labels", *p.SignerName)
	}
	files[p.Path] = file{data: anchors(from), mode: def}
	return nil
}

// anchors are the certificates of all bundles, by their bytes.
func anchors(from []*certificatesv1.ClusterTrustBundle) []byte {
	var all [][]byte
	for _, b := range from {
		for rest := []byte(b.Spec.TrustBundle); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			all = append(all, block.Bytes)
		}
	}
	slices.SortFunc(all, bytes.Compare)
	var out []byte
	for _, der := range slices.CompactFunc(all, bytes.Equal) {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}
