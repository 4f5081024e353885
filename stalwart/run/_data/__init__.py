"""What a check of a data set is made of: a look at each image, pictures that come twice, the page."""
