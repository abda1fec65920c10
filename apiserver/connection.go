package apiserver

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// connection is what a request for a tunnel asks for, as admission sees it; nil for logs, which are read.
func connection(t *route) runtime.Object {
	kind := func(name string) metav1.TypeMeta { return metav1.TypeMeta{Kind: name, APIVersion: "v1"} }
	on := func(name string, unsaid bool) bool {
		if v := t.query.Get(name); v != "" {
			b, _ := strconv.ParseBool(v) // what is none is false
			return b
		}
		return unsaid
	}
	path := t.rest
	if path != "" {
		path = "/" + path
	}
	switch {
	case t.subresource == "exec":
		return &corev1.PodExecOptions{TypeMeta: kind("PodExecOptions"), Stdin: on("stdin", false), Stdout: on("stdout", true), Stderr: on("stderr", true),
			TTY: on("tty", false), Container: t.query.Get("container"), Command: t.query["command"]}
	case t.subresource == "attach":
		return &corev1.PodAttachOptions{TypeMeta: kind("PodAttachOptions"), Stdin: on("stdin", false), Stdout: on("stdout", true), Stderr: on("stderr", true),
			TTY: on("tty", false), Container: t.query.Get("container")}
	case t.subresource == "portforward":
		o := &corev1.PodPortForwardOptions{TypeMeta: kind("PodPortForwardOptions")}
		for _, v := range t.query["ports"] {
			if n, err := strconv.ParseInt(v, 10, 32); err == nil {
				o.Ports = append(o.Ports, int32(n))
			}
		}
		return o
	case t.subresource == "proxy" && t.info.Resource == "pods":
		return &corev1.PodProxyOptions{TypeMeta: kind("PodProxyOptions"), Path: path}
	case t.subresource == "proxy" && t.info.Resource == "services":
		return &corev1.ServiceProxyOptions{TypeMeta: kind("ServiceProxyOptions"), Path: path}
	case t.subresource == "proxy":
		return &corev1.NodeProxyOptions{TypeMeta: kind("NodeProxyOptions"), Path: path}
	}
	return nil
}
