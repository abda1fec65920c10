// Package cri talks to a container runtime over the Container Runtime Interface (runtime.v1) and turns
// its answers into the small values that the kubelet decides with. The kubelet and its server call it.
package cri

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Labels and annotations of sandboxes and containers, as every kubelet writes them: what one kubelet
// started, another can adopt. Source: k8s.io/kubelet/pkg/types and the CRI users' convention.
const (
	LabelPodName       = "io.kubernetes.pod.name"
	LabelPodNamespace  = "io.kubernetes.pod.namespace"
	LabelPodUID        = "io.kubernetes.pod.uid"
	LabelContainerName = "io.kubernetes.container.name"

	AnnotationHash                   = "io.kubernetes.container.hash"
	AnnotationRestartCount           = "io.kubernetes.container.restartCount"
	AnnotationTerminationPath        = "io.kubernetes.container.terminationMessagePath"
	AnnotationTerminationPolicy      = "io.kubernetes.container.terminationMessagePolicy"
	AnnotationPreStop                = "io.kubernetes.container.preStopHandler"
	AnnotationPorts                  = "io.kubernetes.container.ports"
	AnnotationPodGrace               = "io.kubernetes.pod.terminationGracePeriod"
	AnnotationPodDeletionGracePeriod = "io.kubernetes.pod.deletionGracePeriod"
)

// Client is a connection to one runtime. Safe for concurrent use.
type Client struct {
	Runtime runtimev1.RuntimeServiceClient
	Images  runtimev1.ImageServiceClient

	conn       *grpc.ClientConn
	operations *operations
}

// maxMessage bounds one CRI answer: lists of many pods are long, as are the outputs of ExecSync (16 MiB).
const maxMessage = 32 << 20

// Dial connects to a CRI socket, given as a path or as unix:///path. It returns before the runtime answers.
func Dial(socket string) (*Client, error) {
	socket = strings.TrimPrefix(socket, "unix://")
	ops := &operations{by: map[string]Operation{}}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithUnaryInterceptor(ops.measure),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.WaitForReady(false)),
		grpc.WithReadBufferSize(8<<10), grpc.WithWriteBufferSize(8<<10), grpc.WithIdleTimeout(0))
	if err != nil {
		return nil, fmt.Errorf("dial container runtime %s: %w", socket, err)
	}
	return &Client{Runtime: runtimev1.NewRuntimeServiceClient(conn), Images: runtimev1.NewImageServiceClient(conn), conn: conn, operations: ops}, nil
}

// Close ends the connection and every call on it.
func (c *Client) Close() error { return c.conn.Close() }

// Version is the runtime's name and version, such as "containerd" and "v2.4.2".
func (c *Client) Version(ctx context.Context) (name, version string, err error) {
	v, err := c.Runtime.Version(ctx, &runtimev1.VersionRequest{})
	if err != nil {
		return "", "", err
	}
	return v.RuntimeName, v.RuntimeVersion, nil
}

// Ready returns nil when the runtime and its network are ready, else what is not, in the runtime's words.
func (c *Client) Ready(ctx context.Context) (runtime, network error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := c.Runtime.Status(ctx, &runtimev1.StatusRequest{})
	if err != nil {
		return fmt.Errorf("container runtime is down: %s", Message(err)), nil
	}
	runtime, network = fmt.Errorf("container runtime status check may not have completed yet"), nil
	for _, cond := range s.GetStatus().GetConditions() {
		var problem error
		if !cond.Status {
			problem = fmt.Errorf("%s reason:%s message:%s", condition(cond.Type), cond.Reason, cond.Message)
		}
		switch cond.Type {
		case "RuntimeReady":
			runtime = problem
		case "NetworkReady":
			network = problem
		}
	}
	return runtime, network
}

// Features are the runtime's handlers with what each can do, and whether it keeps to a pod's policy on
// supplemental groups, in the words of a Node's status.
func (c *Client) Features(ctx context.Context) ([]corev1.NodeRuntimeHandler, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := c.Runtime.Status(ctx, &runtimev1.StatusRequest{})
	if err != nil {
		return nil, false, err
	}
	var out []corev1.NodeRuntimeHandler
	for _, h := range s.RuntimeHandlers {
		readonly, users := h.GetFeatures().GetRecursiveReadOnlyMounts(), false // user namespaces: not by this kubelet
		out = append(out, corev1.NodeRuntimeHandler{Name: h.Name, Features: &corev1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: &readonly, UserNamespaces: &users}})
	}
	slices.SortFunc(out, func(a, b corev1.NodeRuntimeHandler) int { return strings.Compare(a.Name, b.Name) })
	return out, s.GetFeatures().GetSupplementalGroupsPolicy(), nil
}

func condition(t string) string {
	if t == "NetworkReady" {
		return "container runtime network not ready: NetworkReady=false"
	}
	return "container runtime not ready: " + t + "=false"
}

// Events calls f for each container event until ctx or the stream ends; it always returns an error.
func (c *Client) Events(ctx context.Context, f func(*runtimev1.ContainerEventResponse)) error {
	s, err := c.Runtime.GetContainerEvents(ctx, &runtimev1.GetEventsRequest{})
	if err != nil {
		return fmt.Errorf("container events: %w", err)
	}
	for {
		e, err := s.Recv()
		if err != nil {
			return fmt.Errorf("container events: %w", err)
		}
		f(e)
	}
}

// IsNotFound tells whether the runtime does not know the sandbox, container or image.
func IsNotFound(err error) bool { return status.Code(err) == codes.NotFound }

// Message is what the runtime said, without the transport's words around it.
func Message(err error) string {
	if s, ok := status.FromError(err); ok && s.Code() != codes.OK {
		return s.Message()
	}
	return err.Error()
}
