package resourcemanager

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/document"
)

func TestTagsByAzuresClient(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	f.want(f.do("owner", "PUT", at(slow, "s"), `{"location":"westeurope","properties":{"size":1}}`), 201, "")
	f.until(func() bool {
		return f.do("owner", "GET", at(slow, "s"), "").body.String("properties", "provisioningState") == stateSucceeded
	})
	tags := client(armresources.NewTagsClient(testSub, credential("owner"), f.options()))
	for _, scope := range []string{"/subscriptions/" + testSub, group1, at(slow, "s")} {
		two := armresources.TagsResource{Properties: &armresources.Tags{Tags: map[string]*string{"a": to.Ptr("1"), "b": to.Ptr("2")}}}
		if _, err := tags.CreateOrUpdateAtScope(ctx, scope, two, nil); err != nil {
			t.Fatalf("%s: %v", scope, err)
		}
		for _, step := range []struct {
			operation armresources.TagsPatchOperation
			tags      map[string]*string
			want      string
		}{
			{armresources.TagsPatchOperationMerge, map[string]*string{"B": to.Ptr("3"), "c": to.Ptr("4")}, `{"a":"1","b":"3","c":"4"}`},
			{armresources.TagsPatchOperationDelete, map[string]*string{"a": to.Ptr("other"), "b": to.Ptr("3")}, `{"a":"1","c":"4"}`},
			{armresources.TagsPatchOperationDelete, map[string]*string{"a": to.Ptr("")}, `{"c":"4"}`},
			{armresources.TagsPatchOperationReplace, map[string]*string{"d": to.Ptr("5")}, `{"d":"5"}`},
		} {
			if _, err := tags.UpdateAtScope(ctx, scope, armresources.TagsPatchResource{Operation: to.Ptr(step.operation), Properties: &armresources.Tags{Tags: step.tags}}, nil); err != nil {
				t.Errorf("%s %s: %v", scope, step.operation, err)
			}
			got := f.do("owner", "GET", scope, "").body
			if text := document.Text(got.Object("tags")); text != step.want {
				t.Errorf("%s %s: tags %s, want %s", scope, step.operation, text, step.want)
			}
		}
		if got, err := tags.GetAtScope(ctx, scope, nil); err != nil || len(got.Properties.Tags) != 1 || *got.Properties.Tags["d"] != "5" {
			t.Errorf("%s: %+v, %v", scope, got.Properties, err)
		}
		if _, err := tags.DeleteAtScope(ctx, scope, nil); err != nil {
			t.Errorf("%s: %v", scope, err)
		}
		if got, err := tags.GetAtScope(ctx, scope, nil); err != nil || len(got.Properties.Tags) != 0 {
			t.Errorf("%s: %+v, %v", scope, got.Properties, err)
		}
	}
	if s := f.do("owner", "GET", at(slow, "s"), "").body; s.String("properties", "color") != "white" {
		t.Errorf("more than the tags has changed: %s", document.Text(s))
	}
}

func TestTagsThatAreRefused(t *testing.T) {
	f := newFixture(t)
	const tags = "/providers/Microsoft.Resources/tags/"
	f.grant("stranger", access.Reader, group1)
	body := `{"operation":"Merge","properties":{"tags":{"a":"1"}}}`
	f.want(f.do("stranger", "GET", group1+tags+"default", ""), 200, "")
	f.want(f.do("stranger", "PATCH", group1+tags+"default", body), 403, "AuthorizationFailed")
	f.want(f.do("owner", "PUT", group1+tags+"other", body), 404, "InvalidRequestUri")
	f.want(f.do("owner", "PATCH", group1+tags+"default", `{"operation":"Shake","properties":{"tags":{}}}`), 400, "InvalidTagOperation")
	f.want(f.do("owner", "PUT", group1+tags+"default", `{"properties":{"tags":{"a":1}}}`), 400, "InvalidTagNameValue")
	f.want(f.do("owner", "PUT", group1+"2"+tags+"default", body), 404, "ResourceGroupNotFound")
	f.want(f.do("owner", "PUT", at(thing, "t")+tags+"default", body), 404, "ResourceNotFound")
	f.want(f.do("owner", "PUT", group1+rbac+"locks/l", `{"properties":{"level":"ReadOnly"}}`), 201, "")
	f.want(f.do("owner", "PUT", group1+tags+"default", body), 409, "ScopeLocked")
	f.want(f.do("owner", "DELETE", group1+tags+"default", ""), 409, "ScopeLocked")
}

func TestATemplateSetsTags(t *testing.T) {
	f := newFixture(t)
	d := f.run("d", orderText(templateText(`"resources":[`+thingText(thing, "t", "")+`,
		{"type":"Microsoft.Resources/tags","apiVersion":"2021-04-01","name":"default","properties":{"tags":{"of":"group"}}},
		{"type":"Microsoft.Resources/tags","apiVersion":"2021-04-01","name":"default","scope":"[resourceId('Causeway.Test/things','t')]","dependsOn":["[resourceId('Causeway.Test/things','t')]"],"properties":{"tags":{"of":"thing"}}}]`), "{}"))
	if got := d.String("properties", "provisioningState"); got != stateSucceeded {
		t.Fatalf("deployment %s", document.Text(d))
	}
	for path, want := range map[string]string{group1: "group", at(thing, "t"): "thing"} {
		if got := f.do("owner", "GET", path, "").body.String("tags", "of"); got != want {
			t.Errorf("%s: tag %q", path, got)
		}
	}
}
