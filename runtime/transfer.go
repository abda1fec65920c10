package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Four calls of containerd's API, as written in its containerd.services.{transfer,streaming,leases}.v1
// and containerd.types.transfer. The few messages are encoded here, since the generated client brings
// six modules, half a megabyte and 0.3 ms of every start of lighter with it.

const (
	transferMethod = "/containerd.services.transfer.v1.Transfer/Transfer"
	streamMethod   = "/containerd.services.streaming.v1.Streaming/Stream"
	leaseMethod    = "/containerd.services.leases.v1.Leases/Create"
	releaseMethod  = "/containerd.services.leases.v1.Leases/Delete"
)

// field appends a field with a string, bytes or an encoded message.
func field[T ~string | ~[]byte](b []byte, number protowire.Number, value T) []byte {
	b = protowire.AppendTag(b, number, protowire.BytesType)
	return protowire.AppendBytes(b, []byte(value))
}

func flag(b []byte, number protowire.Number) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), 1)
}

// values calls visit for each field of a message, with its bytes or its number.
func values(b []byte, visit func(n protowire.Number, bytes []byte, number uint64)) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		switch kind {
		case protowire.BytesType:
			value, size := protowire.ConsumeBytes(b)
			if size < 0 {
				return protowire.ParseError(size)
			}
			visit(n, value, 0)
			b = b[size:]
		case protowire.VarintType:
			value, size := protowire.ConsumeVarint(b)
			if size < 0 {
				return protowire.ParseError(size)
			}
			visit(n, nil, value)
			b = b[size:]
		default:
			size := protowire.ConsumeFieldValue(n, kind, b)
			if size < 0 {
				return protowire.ParseError(size)
			}
			b = b[size:]
		}
	}
	return nil
}

// importStream is the source of a transfer: an archive that comes by the stream with this id.
func importStream(id string) *anypb.Any {
	return &anypb.Any{TypeUrl: "containerd.types.transfer.ImageImportStream", Value: field(nil, 1, id)}
}

// imageStore is the destination of a transfer: the node's images, unpacked, for one architecture.
func imageStore(arch string) *anypb.Any {
	platform := field(field(nil, 1, "linux"), 2, arch)
	if arch == "arm64" {
		platform = field(platform, 3, "v8")
	}
	// A tag alone gets this name before it; a full name stays. is_prefix and allow_overwrite.
	reference := flag(flag(field(nil, 1, "localhost/import"), 2), 3)
	b := field(nil, 3, platform)              // platforms
	b = field(b, 6, reference)                // extra_references
	b = field(b, 10, field(nil, 1, platform)) // unpacks, with the default snapshotter
	return &anypb.Any{TypeUrl: "containerd.types.transfer.ImageStore", Value: b}
}

// transfer moves source to destination and returns when that is done.
func transfer(ctx context.Context, conn *grpc.ClientConn, progress string, source, destination *anypb.Any) error {
	src, err := proto.Marshal(source)
	if err != nil {
		return err
	}
	dst, err := proto.Marshal(destination)
	if err != nil {
		return err
	}
	request := field(field(nil, 1, src), 2, dst)
	request = field(request, 3, field(nil, 1, progress)) // options.progress_stream
	return call(ctx, conn, transferMethod, request)
}

// lease makes containerd's garbage collection spare what is made by calls with the returned
// context, for an hour or until release. (On an empty store it takes even the streams otherwise.)
func lease(ctx context.Context, conn *grpc.ClientConn, id string) (leased context.Context, release func(), err error) {
	expire := field(field(nil, 1, "containerd.io/gc.expire"), 2, time.Now().Add(time.Hour).Format(time.RFC3339))
	if err := call(ctx, conn, leaseMethod, field(field(nil, 1, id), 3, expire)); err != nil {
		return nil, nil, err
	}
	release = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = call(ctx, conn, releaseMethod, field(nil, 1, id)) // it expires by itself
	}
	return metadata.AppendToOutgoingContext(ctx, "containerd-lease", id), release, nil
}

// call makes a call with an encoded request, and drops the answer.
func call(ctx context.Context, conn *grpc.ClientConn, method string, request []byte) error {
	var answer []byte
	return conn.Invoke(ctx, method, request, &answer, grpc.ForceCodec(encoded{}))
}

// encoded is a gRPC codec for messages that are bytes already.
type encoded struct{}

func (encoded) Name() string { return "proto" }
func (encoded) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("cannot send a %T", v)
	}
	return b, nil
}
func (encoded) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("cannot receive a %T", v)
	}
	*b = data
	return nil
}

// stream is a stream that a transfer can name by its id.
type stream struct{ grpc.ClientStream }

func openStream(ctx context.Context, conn *grpc.ClientConn, id string) (stream, error) {
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, streamMethod)
	if err != nil {
		return stream{}, err
	}
	init := &anypb.Any{TypeUrl: "containerd.services.streaming.v1.StreamInit", Value: field(nil, 1, id)}
	if err := s.SendMsg(init); err != nil && !errors.Is(err, io.EOF) {
		return stream{}, err
	}
	return stream{s}, s.RecvMsg(&anypb.Any{}) // it is registered now; after io.EOF this has the reason
}

// send sends all of r, never more than the receiver has asked for.
func (s stream) send(r io.Reader) error {
	buf := make([]byte, 32<<10)
	window := 0
	for {
		for window <= 0 {
			var update anypb.Any
			if err := s.RecvMsg(&update); err != nil {
				return nil // the receiver has had enough, and its answer says why
			}
			if err := values(update.Value, func(n protowire.Number, _ []byte, number uint64) {
				if n == 1 {
					window += int(int32(number))
				}
			}); err != nil {
				return err
			}
		}
		n, err := r.Read(buf[:min(len(buf), window)])
		if n > 0 {
			window -= n
			data := &anypb.Any{TypeUrl: "containerd.types.transfer.Data", Value: field(nil, 1, buf[:n])}
			if err := s.SendMsg(data); err != nil {
				return nil // as above
			}
		}
		if errors.Is(err, io.EOF) {
			return s.CloseSend()
		}
		if err != nil {
			return err
		}
	}
}

// saved reads the progress of a transfer to its end, and returns the names of the images stored.
func (s stream) saved() (names []string) {
	for {
		var progress anypb.Any
		if err := s.RecvMsg(&progress); err != nil {
			return names
		}
		var event, name string
		if err := values(progress.Value, func(n protowire.Number, b []byte, _ uint64) {
			switch n {
			case 1:
				event = string(b)
			case 2:
				name = string(b)
			}
		}); err == nil && event == "saved" {
			names = append(names, name)
		}
	}
}
