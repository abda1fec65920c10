package kubelet

import (
	"context"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// RequestCertificate implements volume.Source.
func (k *Kubelet) RequestCertificate(ctx context.Context, pod *corev1.Pod, p *corev1.PodCertificateProjection, stub []byte) (string, error) {
	node, err := client.Nodes.Get(ctx, k.Client, "", k.NodeName)
	if err != nil {
		return "", err
	}
	account, err := client.ServiceAccounts.Get(ctx, k.Client, pod.Namespace, pod.Spec.ServiceAccountName)
	if err != nil {
		return "", err
	}
	yes := true
	made, err := client.PodCertificateRequests.Create(ctx, k.Client, &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, GenerateName: "req-" + pod.Name[:min(len(pod.Name), 200)] + "-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: &yes}}},
		Spec: certificatesv1.PodCertificateRequestSpec{SignerName: p.SignerName, PodName: pod.Name, PodUID: pod.UID, ServiceAccountName: account.Name, ServiceAccountUID: account.UID,
			NodeName: types.NodeName(k.NodeName), NodeUID: node.UID, MaxExpirationSeconds: p.MaxExpirationSeconds, StubPKCS10Request: stub, UnverifiedUserAnnotations: p.UserAnnotations}})
	if err != nil {
		return "", err
	}
	return made.Name, nil
}

// answerWithin is how long a volume waits for a signer before it is set up again later: signers are quick, mostly.
const answerWithin = 3 * time.Second

// CertificateRequest implements volume.Source. It waits a moment for the answer.
func (k *Kubelet) CertificateRequest(ctx context.Context, pod *corev1.Pod, name string) (*certificatesv1.PodCertificateRequest, error) {
	view, err := k.objects.synced(ctx, objectKey{requestsOfNode, "", k.NodeName})
	if err != nil {
		return nil, err
	}
	typed := client.TypedView[*certificatesv1.PodCertificateRequest]{View: view}
	for end := time.Now().Add(answerWithin); time.Now().Before(end); {
		if r, ok := typed.Get(pod.Namespace, name); ok && len(r.Status.Conditions) > 0 {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	if r, ok := typed.Get(pod.Namespace, name); ok {
		return r, nil
	}
	return nil, nil
}
