"""The enhanced metrics, `aws.lambda.enhanced.*`: what the platform and the machine tell about invocations."""
