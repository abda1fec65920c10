package apiextensions

import (
	"bytes"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/lighter-k8s/lighter/api"
)

// Upstream keeps definitions as JSON of v1beta1, which it does not serve any more. Source: what kube-apiserver 1.37 writes to etcd.
var kept = sync.OnceValue(func() runtime.Codec {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{apiextensions.AddToScheme, apiextensionsv1.AddToScheme, apiextensionsv1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // the library's own types
		}
	}
	if err := scheme.SetVersionPriority(apiextensionsv1.SchemeGroupVersion, apiextensionsv1beta1.SchemeGroupVersion); err != nil {
		panic(err)
	}
	return serializer.NewCodecFactory(scheme).LegacyCodec(apiextensionsv1beta1.SchemeGroupVersion)
})

var served = sync.OnceValue(func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{apiextensions.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return scheme
})

// FromKept gives the stored form of a definition, as of all resources, from what upstream keeps.
func FromKept(value []byte) ([]byte, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(value, " \n"), []byte("{")) {
		return value, nil
	}
	internal, err := runtime.Decode(kept(), value)
	if err != nil {
		return nil, err
	}
	out := &apiextensionsv1.CustomResourceDefinition{}
	if err := served().Convert(internal, out, nil); err != nil {
		return nil, err
	}
	return api.EncodeStored(CustomResourceDefinition, out)
}

// ToKept gives what upstream keeps of a definition from its stored form.
func ToKept(value []byte) ([]byte, error) {
	obj, err := api.DecodeStored(CustomResourceDefinition, value)
	if err != nil {
		return nil, err
	}
	internal := &apiextensions.CustomResourceDefinition{}
	if err := served().Convert(obj, internal, nil); err != nil {
		return nil, err
	}
	return runtime.Encode(kept(), internal)
}
