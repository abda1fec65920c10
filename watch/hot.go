package watch

import (
	"reflect"
	"sync"
	"unsafe"
	"weak"

	"github.com/lighter-k8s/lighter/api"
)

// A typed object takes two to four times the bytes that it is made from, so an Item keeps only a weak pointer to
// the one that it made: whoever still holds it gets the same one again. The objects asked for last are held a while
// (hot), so that those who look one after the other at the same change, or again and again at the same few
// objects, do not decode anew.

// held is the weak pointer to an item's typed object, whatever its Go type.
type held struct{ at weak.Pointer[byte] }

// held is the item's typed object, or nil when nobody holds it.
func (i *Item) held() api.Object {
	h := i.object.Load()
	if h == nil {
		return nil
	}
	p := h.at.Value()
	if p == nil {
		return nil
	}
	return reflect.NewAt(typeOf(i.Info), unsafe.Pointer(p)).Interface().(api.Object)
}

// keep makes o, a pointer to the type of i.Info, the item's typed object; if there is one already, it is returned.
func (i *Item) keep(o api.Object) api.Object {
	v := reflect.ValueOf(o)
	if v.Kind() != reflect.Pointer || v.Type().Elem() != typeOf(i.Info) {
		return o
	}
	h := &held{weak.Make((*byte)(v.UnsafePointer()))}
	for {
		old := i.object.Load()
		if old != nil {
			if was := i.held(); was != nil {
				return was
			}
		}
		if i.object.CompareAndSwap(old, h) {
			i.hot.add(o, len(i.raw))
			return o
		}
	}
}

// typeOf is the Go type of a resource's objects.
func typeOf(i *api.Info) reflect.Type {
	if i.Type != nil {
		return i.Type
	}
	return reflect.TypeOf(i.New()).Elem()
}

// hotBytes bounds what the objects that hot holds were decoded from.
const hotBytes = 1 << 20

// hot holds the typed objects made last, the oldest giving way.
type hot struct {
	mu     sync.Mutex
	ring   []hotObject
	oldest int // index of the oldest, once ring was full
	n      int
	bytes  int
}

type hotObject struct {
	obj  api.Object
	size int
}

func (h *hot) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring, h.oldest, h.n, h.bytes = nil, 0, 0, 0
}

func (h *hot) add(o api.Object, size int) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	size += 200
	for h.n > 0 && h.bytes+size > hotBytes {
		h.bytes -= h.ring[h.oldest].size
		h.ring[h.oldest] = hotObject{}
		h.oldest = (h.oldest + 1) % len(h.ring)
		h.n--
	}
	if h.n == len(h.ring) {
		more := make([]hotObject, max(64, 2*len(h.ring)))
		for k := range h.n {
			more[k] = h.ring[(h.oldest+k)%len(h.ring)]
		}
		h.ring, h.oldest = more, 0
	}
	h.ring[(h.oldest+h.n)%len(h.ring)] = hotObject{o, size}
	h.n++
	h.bytes += size
}
