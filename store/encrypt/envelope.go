package encrypt

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// The kinds of data encryption key sources.
const (
	keySource  = 0 // AES_GCM_KEY: the key itself
	seedSource = 1 // HKDF_SHA256_XNONCE_AES_GCM_SEED: each value has a key that is made of it
)

// envelope is what a value that a KMS plugin's key encrypts is stored as: the message EncryptedObject of upstream's
// storage format for KMS v2.
type envelope struct {
	data        []byte            // 1, the sealed value
	keyID       string            // 2, of the plugin's key
	source      []byte            // 3, the data encryption key source as the plugin encrypted it
	annotations map[string][]byte // 4, the plugin's
	kind        uint64            // 5
}

func (e envelope) names() []string { return slices.Sorted(maps.Keys(e.annotations)) }

func (e envelope) append(b []byte) []byte {
	b = protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), e.data)
	b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), e.keyID)
	b = protowire.AppendBytes(protowire.AppendTag(b, 3, protowire.BytesType), e.source)
	for _, name := range e.names() {
		pair := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
		pair = protowire.AppendBytes(protowire.AppendTag(pair, 2, protowire.BytesType), e.annotations[name])
		b = protowire.AppendBytes(protowire.AppendTag(b, 4, protowire.BytesType), pair)
	}
	if e.kind != keySource {
		b = protowire.AppendVarint(protowire.AppendTag(b, 5, protowire.VarintType), e.kind)
	}
	return b
}

// parseEnvelope reads the message; it shares b.
func parseEnvelope(b []byte) (e envelope, err error) {
	bad := false
	fields(b, &bad, func(n protowire.Number, value []byte, number uint64) {
		switch n {
		case 1:
			e.data = value
		case 2:
			e.keyID = string(value)
		case 3:
			e.source = value
		case 4:
			var name string
			pair := []byte{}
			fields(value, &bad, func(n protowire.Number, value []byte, _ uint64) {
				switch n {
				case 1:
					name = string(value)
				case 2:
					pair = value
				}
			})
			if e.annotations == nil {
				e.annotations = map[string][]byte{}
			}
			e.annotations[name] = pair
		case 5:
			e.kind = number
		}
	})
	if bad || len(e.data) == 0 || e.keyID == "" || len(e.source) == 0 || e.kind > seedSource {
		return envelope{}, errEnvelope
	}
	return e, nil
}

// fields calls yield with each field of a message; bad is set when it is none.
func fields(b []byte, bad *bool, yield func(n protowire.Number, value []byte, number uint64)) {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			*bad = true
			return
		}
		b = b[size:]
		var value []byte
		var number uint64
		switch kind {
		case protowire.BytesType:
			value, size = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(b)
		default:
			size = protowire.ConsumeFieldValue(n, kind, b)
		}
		if size < 0 {
			*bad = true
			return
		}
		b = b[size:]
		yield(n, value, number)
	}
}
