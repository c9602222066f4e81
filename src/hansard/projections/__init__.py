"""Read models: named, versioned folds of events, live, inline or at their own pace; built anew beside the old one."""
