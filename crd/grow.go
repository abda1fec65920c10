package crd

import (
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// mostGrown bounds what defaults may add to an object, by its text and 32 bytes for each value: as much as a body may have. An item that a client
// writes as {} can become as large as a definition.
const mostGrown = 3 << 20

// grower knows what the defaults of a part of a schema add to a value. nil: there are none.
type grower struct {
	defaults map[string]ownDefault // by property
	instead  int                   // what takes the place of null in a list or map of these
	below    map[string]*grower    // by property
	each     *grower               // of a list's items, or a map's values
}

type ownDefault struct {
	size     int
	nullable bool
}

// growerOf makes the grower of a schema. A default's size counts what is filled in within it.
func growerOf(s *structural.Structural) *grower {
	if s == nil {
		return nil
	}
	g := &grower{defaults: map[string]ownDefault{}, below: map[string]*grower{}}
	for key, of := range s.Properties {
		below := growerOf(&of)
		if below != nil {
			g.below[key] = below
		}
		if d := of.Default.Object; d != nil {
			g.defaults[key] = ownDefault{len(key) + sizeOf(d) + below.adds(d, mostGrown), of.Nullable}
		}
	}
	for _, of := range []*structural.Structural{s.Items, valuesOf(s)} {
		if of == nil {
			continue
		}
		if g.each = growerOf(of); of.Default.Object != nil && !of.Nullable {
			if g.each == nil {
				g.each = &grower{}
			}
			g.each.instead = sizeOf(of.Default.Object) + g.each.adds(of.Default.Object, mostGrown)
		}
	}
	if len(g.defaults) == 0 && len(g.below) == 0 && g.each == nil {
		return nil
	}
	return g
}

func valuesOf(s *structural.Structural) *structural.Structural {
	if s.AdditionalProperties == nil {
		return nil
	}
	return s.AdditionalProperties.Structural
}

// multiplies tells whether there are defaults within lists or maps, whose number is the client's choice.
func (g *grower) multiplies() bool {
	if g == nil || g.each != nil {
		return g != nil
	}
	for _, below := range g.below {
		if below.multiplies() {
			return true
		}
	}
	return false
}

// adds is how much defaults add to a value; it looks no further once that is more than most.
func (g *grower) adds(v any, most int) (n int) {
	if g == nil {
		return 0
	}
	of := func(v any, g *grower) bool {
		if v == nil && g != nil {
			n += g.instead
		} else {
			n += g.adds(v, most-n)
		}
		return n <= most
	}
	switch v := v.(type) {
	case map[string]any:
		for key, d := range g.defaults {
			if is, ok := v[key]; !ok || is == nil && !d.nullable {
				n += d.size
			}
		}
		for key, v := range v {
			below, ok := g.below[key]
			if !ok {
				below = g.each
			}
			if _, own := g.defaults[key]; own && v == nil { // counted above
				continue
			}
			if !of(v, below) {
				break
			}
		}
	case []any:
		for _, v := range v {
			if !of(v, g.each) {
				break
			}
		}
	}
	return n
}

// sizeOf is the text of a value and 32 bytes for each that is in it.
func sizeOf(v any) int {
	n := 32
	switch v := v.(type) {
	case string:
		n += len(v)
	case map[string]any:
		for key, v := range v {
			n += len(key) + sizeOf(v)
		}
	case []any:
		for _, v := range v {
			n += sizeOf(v)
		}
	}
	return n
}
