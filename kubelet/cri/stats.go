package cri

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// Operation is how one kind of call has gone so far.
type Operation struct {
	Count, Errors int
	Took          time.Duration // of all together
}

// operations counts calls by the name of their method.
type operations struct {
	mu sync.Mutex
	by map[string]Operation
}

func (o *operations) measure(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	began := time.Now()
	err := invoke(ctx, method, req, reply, cc, opts...)
	o.mu.Lock()
	defer o.mu.Unlock()
	name := method[strings.LastIndexByte(method, '/')+1:]
	op := o.by[name]
	op.Count++
	op.Took += time.Since(began)
	if err != nil {
		op.Errors++
	}
	o.by[name] = op
	return err
}

// Operations are the calls so far, by method such as "RunPodSandbox".
func (c *Client) Operations() map[string]Operation {
	c.operations.mu.Lock()
	defer c.operations.mu.Unlock()
	return maps.Clone(c.operations.by)
}
