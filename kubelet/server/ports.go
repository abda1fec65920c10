package server

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/portforward"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// mostPorts is how many ports one WebSocket can carry: each has two channels, whose number is a byte.
const mostPorts = 127

// linger is how long the pod may go on with a connection whose client has gone.
const linger = 10 * time.Second

// wantedPorts are the ports that a request names: a WebSocket cannot ask for one later.
func wantedPorts(r *http.Request) (ports []uint16, err error) {
	q := r.URL.Query()
	for _, list := range append(q["port"], q["ports"]...) {
		for text := range strings.SplitSeq(list, ",") {
			n, err := strconv.ParseUint(text, 10, 16)
			if err != nil || n == 0 {
				return nil, &Error{http.StatusBadRequest, fmt.Sprintf("invalid port: %q", text)}
			}
			ports = append(ports, uint16(n))
		}
	}
	if len(ports) == 0 || len(ports) > mostPorts {
		return nil, &Error{http.StatusBadRequest, fmt.Sprintf("port forwarding over WebSocket needs 1 to %d ports", mostPorts)}
	}
	return ports, nil
}

// portsToSocket forwards ports over the channels of one WebSocket: of the n-th port 2n carries data both ways and 2n+1 what
// went wrong. Each begins with its port, in two bytes, the lower one first.
// Source: the API's PodPortForwardOptions, and what clients of v4.channel.k8s.io expect.
func (s *Server) portsToSocket(w http.ResponseWriter, r *http.Request, u *url.URL) error {
	ports, err := wantedPorts(r)
	if err != nil {
		return err
	}
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{Host: u.Host})
	if err != nil {
		return err
	}
	to, _, err := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u).Dial(portforward.PortForwardV1Name)
	if err != nil {
		return fmt.Errorf("ask the runtime's streaming server: %w", err)
	}
	defer to.Close()
	var channels []wsstream.ChannelType
	for range ports {
		channels = append(channels, wsstream.ReadWriteChannel, wsstream.WriteChannel)
	}
	raw, text := wsstream.ChannelProtocolConfig{Binary: true, Channels: channels}, wsstream.ChannelProtocolConfig{Channels: channels}
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{"": raw, "v4." + wsstream.ChannelWebSocketProtocol: raw,
		"v4." + wsstream.Base64ChannelWebSocketProtocol: text})
	conn.SetIdleTimeout(4 * time.Hour)
	_, ch, err := conn.Open(w, r)
	if err != nil {
		s.Log.Debug("websocket", "err", err)
		return nil // it has been answered
	}
	defer conn.Close()
	for n, port := range ports {
		name := binary.LittleEndian.AppendUint16(nil, port)
		for _, c := range ch[2*n : 2*n+2] {
			if _, err := c.Write(name); err != nil {
				return nil // the client has gone
			}
		}
	}
	var all sync.WaitGroup
	for n, port := range ports {
		all.Go(func() {
			if err := forwardPort(to, n, port, ch[2*n], ch[2*n+1]); err != nil {
				_, _ = fmt.Fprintf(ch[2*n+1], "error forwarding port %d: %v", port, err)
			}
		})
	}
	all.Wait()
	return nil
}

// forwardPort joins one port's channels to the runtime's streams for it, until the pod's side ends.
func forwardPort(to httpstream.Connection, n int, port uint16, data io.ReadWriteCloser, errs io.Writer) error {
	h := http.Header{}
	h.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	h.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(n))
	h.Set(corev1.StreamType, corev1.StreamTypeError)
	failure, err := to.CreateStream(h)
	if err != nil {
		return err
	}
	_ = failure.Close() // nothing is sent on it
	h.Set(corev1.StreamType, corev1.StreamTypeData)
	stream, err := to.CreateStream(h)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(stream, data) // until the client is gone: of one port alone it cannot say so
		_ = stream.Close()
		time.AfterFunc(linger, func() { _ = stream.Reset() })
	}()
	_, err = io.Copy(data, stream)
	_ = data.Close()
	_, _ = io.Copy(errs, failure)
	return err
}
