// Package server is the kubelet's own HTTP API: logs, exec, attach and port-forward of its containers, its
// pods, health, statistics and metrics. The API server calls it on behalf of users; every path is mapped to
// a subresource of the node, and authorized as that.
package server

import (
	"context"
	"net/http"

	corev1 "k8s.io/api/core/v1"
)

// User is who asks.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// Attributes is what is asked, in the words of a SubjectAccessReview about a node.
type Attributes struct {
	Verb        string // get, create, update, patch, delete
	Node        string
	Subresource string // proxy, stats, log, metrics, pods, healthz, configz ...
	Path        string
}

// Pods tells the server about the node's pods.
type Pods interface {
	// Pods lists the pods with their newest status.
	Pods() []*corev1.Pod
	// Container finds a container's ID in the runtime and its log; previous asks for the one before.
	// "" for the container is the pod's default one. uid may be "". Errors are for the user.
	Container(namespace, pod, uid, container string, previous bool) (Container, error)
	// Sandbox finds the pod's sandbox.
	Sandbox(namespace, pod, uid string) (id string, err error)
}

// Container is one container of a pod.
type Container struct {
	ID, LogPath string
	TTY, Stdin  bool
	Ended       func() bool // it will write no more
}

var _ = http.StatusOK
var _ context.Context
