package openapi

import (
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"github.com/lighter-k8s/lighter/api"
)

// fixed are the paths that are no resource's, by the names of their documents: "apis/apps", "version". A group of custom resources alone
// has none.
func fixed(infos []*api.Info) map[string]path {
	get := func(url, id, text, tag string, of reflect.Type, media ...string) path {
		return path{url: url, ops: []operation{{method: "get", id: id, text: text, tag: tag, answer: kind{typ: of}, media: media}}}
	}
	out := map[string]path{
		"api":     get("/api/", "getCoreAPIVersions", "get available API versions", "core", reflect.TypeFor[metav1.APIVersions](), objects...),
		"apis":    get("/apis/", "getAPIVersions", "get available API versions", "apis", reflect.TypeFor[metav1.APIGroupList](), objects...),
		"version": get("/version/", "getCodeVersion", "get the version information for this server", "version", reflect.TypeFor[version.Info](), "application/json"),
		"openid/v1/jwks": get("/openid/v1/jwks/", "getServiceAccountIssuerOpenIDKeyset",
			"get service account issuer OpenID JSON Web Key Set (contains public token verification keys)", "openid", nil, "application/jwk-set+json"),
		".well-known/openid-configuration": get("/.well-known/openid-configuration/", "getServiceAccountIssuerOpenIDConfiguration",
			"get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'", "WellKnown", nil, "application/json"),
	}
	for _, i := range infos {
		if i.Group != "" && i.Custom == nil {
			out["apis/"+i.Group] = get("/apis/"+i.Group+"/", "get"+wordsOf(i.Group)+"APIGroup", "get information of a group", tag(i.Group, ""), reflect.TypeFor[metav1.APIGroup](), objects...)
		}
	}
	return out
}
